"""What follows pretraining: fine-tuning of all weights or of low-rank adapters, and learning from preferences."""
