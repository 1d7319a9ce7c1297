"""HTTP calls: how they are signed, paced, repeated, kept and recorded."""
