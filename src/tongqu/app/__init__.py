"""Puts the parts together and shows them to people: command line, services, project files, messages."""
