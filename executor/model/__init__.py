"""The transformer and its attention kinds."""
