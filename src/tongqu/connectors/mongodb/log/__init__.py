"""Follows MongoDB's change streams."""
