"""Runs other people's connectors (Singer, Airbyte, dlt): installed on purpose, kept apart in a process of their own."""
