"""Proves that a caller of an API learns nothing that it may not see: made-up rows, every kind of question."""
