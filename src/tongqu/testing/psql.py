"""Runs SQL in a PostgreSQL with the bare driver: what tests believe was not read by the code they test."""

from __future__ import annotations

from typing import Any

Row = tuple[Any, ...]


def execute(url: str, statements: str) -> None:
    """Run statements, each committed at once."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def rows(url: str, query: str) -> list[Row]:
    """A query's rows, sorted; none if a table of it does not exist."""
    import psycopg

    with psycopg.connect(url) as connection:
        try:
            return sorted(connection.execute(query.encode()).fetchall(), key=repr)
        except psycopg.errors.UndefinedTable:
            return []
