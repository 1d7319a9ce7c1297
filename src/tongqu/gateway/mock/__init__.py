"""Answers that are made up: for who tries an API out, and for clients that are only ever to see such."""
