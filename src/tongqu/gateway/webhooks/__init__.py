"""Outbound webhooks: changes of published rows, signed and delivered until they are taken."""
