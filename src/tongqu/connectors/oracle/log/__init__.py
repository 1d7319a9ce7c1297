"""Follows the redo of an Oracle database: what LogMiner tells of it over SQL."""
