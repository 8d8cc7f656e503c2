"""Runs in the experiment trackers people already have. Readers of events.jsonl, which stays the truth."""
