"""Secrets at rest: sealed records under data keys, data keys under a key that lies elsewhere, and who used what."""
