"""How connections to the outside are opened: by which address, through which hops, and which are refused."""
