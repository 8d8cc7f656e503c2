"""Training on many ranks: who they are, what each holds, how they compute, decide and save together."""
