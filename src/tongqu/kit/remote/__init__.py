"""Sinks whose system has no transaction of ours: a ledger of calls at home stands in for it."""
