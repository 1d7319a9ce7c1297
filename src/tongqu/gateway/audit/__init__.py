"""Writes down who called what: the audit records of calls, and their way to further places."""
