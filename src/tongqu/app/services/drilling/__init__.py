"""Faults on a clone of two tables, and what must hold while they happen and afterwards."""
