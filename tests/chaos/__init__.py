"""Fault injection: kills, power cuts, full disks, flipped bits, hostile files; `make chaos` prints what held."""
