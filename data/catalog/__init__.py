"""Catalogs: hardware, prices, corpora and laws, each row sourced and dated."""
