"""Answers that are kept until their time is over or a table they came from changes."""
