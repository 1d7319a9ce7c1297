"""What reading and sending mail have in common: where the server is, and how a connection to it is secured."""
