"""Who may see and change what: rules compiled once, one decision for every protocol."""
