"""Who may call: clients, people, their keys, sessions and tokens, in one SQLite file of the home."""
