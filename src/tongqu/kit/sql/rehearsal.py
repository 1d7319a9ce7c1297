"""Runs the code that would change a database and notes its statements instead of running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tongqu.kit.db import Db


@contextmanager
def rehearsed(db: Db) -> Iterator[list[str]]:
    """Inside the block queries run and statements are only noted, in order, with an effect of 0 rows."""
    noted: list[str] = []

    def note(sql: str, params: Sequence[Any] = ()) -> int:
        del params
        noted.append(" ".join(sql.split()))
        return 0

    def note_all(statements: Sequence[str]) -> None:
        for statement in filter(None, statements):
            note(statement)

    db.run = note  # type: ignore[method-assign]  # the connection of a sink is one thread's at a time
    db.say = note_all  # type: ignore[method-assign]  # as above
    try:
        yield noted
    finally:
        del db.run, db.say
