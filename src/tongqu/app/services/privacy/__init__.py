"""Persons in published data: where they stand, what is known of one, who read it, and how it is erased."""
