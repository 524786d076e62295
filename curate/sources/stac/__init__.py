"""Open collections behind STAC APIs: no account, one search a cell and season, blocks not files."""
