"""Counts and times of calls, in shared memory, as Prometheus reads them."""
