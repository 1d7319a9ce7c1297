"""Topics as a queue of our own: changes and messages in blocks with their exact types, in place of the embedded one."""
