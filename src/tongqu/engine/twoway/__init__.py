"""Two-way sync: several systems that hold the same records, kept in agreement."""
