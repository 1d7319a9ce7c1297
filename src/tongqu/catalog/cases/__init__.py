"""Cases of an interface: made from its description, kept as files, judged by rules; nothing here connects anywhere."""
