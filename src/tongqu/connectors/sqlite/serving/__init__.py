"""What a SQLite file answers to the gateway."""
