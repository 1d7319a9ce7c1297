"""How cases are made, kept and run, against what, and how their results are shown."""
