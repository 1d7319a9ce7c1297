"""The audit trail of a home: hash-chained, append-only, verifiable, kept at least 180 days."""
