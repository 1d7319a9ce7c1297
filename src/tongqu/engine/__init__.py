"""Turns what is wanted into a job, and runs it."""
