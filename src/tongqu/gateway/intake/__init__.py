"""`/ingest`: rows that are kept durably at once and written soon after, many together."""
