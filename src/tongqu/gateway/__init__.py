"""Publishes datasets as governed APIs: one definition, five protocols, one decision about who sees what."""
