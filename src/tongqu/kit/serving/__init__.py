"""What servers of different systems share: one encoding of rows, blocking drivers beside an event loop."""
