"""Open collections behind STAC APIs: no account, a search a region and season, blocks not files."""
