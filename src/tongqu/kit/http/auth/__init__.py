"""How a call proves who makes it: keys, passwords, tokens, signatures."""
