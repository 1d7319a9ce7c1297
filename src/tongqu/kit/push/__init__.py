"""Streams that others push to us over a connection that we open: kept in a queue of our own before they count."""
