"""The benchmark: Tongqu against the databases' own bulk tools, on private servers. `python -m bench --help`."""
