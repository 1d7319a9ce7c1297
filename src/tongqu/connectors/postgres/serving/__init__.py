"""What a PostgreSQL database answers to the gateway."""
