"""Scores what a vendor's interface can do, how well it is made and how safe it is, from its document and from calls."""
