"""Tells callers what changes in the APIs they use: as a feed, by webhooks and by mail."""
