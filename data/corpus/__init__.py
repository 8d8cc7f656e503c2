"""The corpus pipeline: any text -> verified token shards, and the loader that reads them. No torch."""
