"""What a connector to a SQL system is made of when its driver is a plain one: a dialect, a connection, both ways."""
