"""Ready-made descriptions of well-known APIs, one file each, and a mock of every API that such a file describes."""
