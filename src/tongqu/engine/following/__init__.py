"""Streams that follow the log of their source: read by one, written by few, durable with their position."""
