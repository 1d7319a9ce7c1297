"""What connectors are built from."""
