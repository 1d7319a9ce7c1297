"""Inbound webhooks: proven to come from their sender, kept once, answered when they are on disk."""
