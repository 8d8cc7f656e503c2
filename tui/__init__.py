"""Showing it: the command line and the screens. Decides nothing."""
