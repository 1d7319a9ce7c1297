"""The management API: one table of what can be managed, answered under `/manage` and by the command line alike."""
