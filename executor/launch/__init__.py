"""Starting a run as its own process."""
