"""Scaling laws: forms, fits, uncertainty, the registry of published laws, pilot-run design."""
