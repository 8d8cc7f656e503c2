"""A model asked for harm: its answers, a judge's verdicts on them, and where both are kept."""
