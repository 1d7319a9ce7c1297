"""The row binlog of MariaDB and MySQL, followed as a log of changes."""
