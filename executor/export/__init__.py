"""A trained model in the layouts of others."""
