"""The words of the system as types: no I/O, no drivers."""
