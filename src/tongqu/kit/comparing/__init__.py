"""What connectors compare with: the statements that count, sum and list rows by key ranges."""
