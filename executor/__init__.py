"""Doing it: preflight, model, training, evaluation, checkpoints, guards, records."""
