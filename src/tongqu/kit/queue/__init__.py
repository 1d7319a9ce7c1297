"""An embedded durable log in one SQLite file: topics of rows or changes, appended in groups, read by anybody."""
