"""Tongqu connects enterprise systems, moves and cleans their data, and publishes it as governed APIs."""

__version__ = "0.1.0"
