"""What a run costs beyond its steps: dated prices, ownership, energy, scope, risk and what else the money could do."""
