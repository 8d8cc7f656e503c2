"""Text to verified token shards."""
