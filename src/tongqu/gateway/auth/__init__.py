"""Who calls: credentials are checked here, and tokens are given out."""
