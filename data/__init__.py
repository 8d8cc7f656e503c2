"""What is known: units, sources, catalogs, and the corpus pipeline. No torch."""
