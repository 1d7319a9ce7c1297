"""Files of an earlier version take the trace of what is kept from now on; what lies in them stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tongqu.store import feed, intake, outbox
from tongqu.store.feed import Changed, Feed
from tongqu.store.intake import Parcel, SqliteIntake
from tongqu.store.migrations import migrate
from tongqu.store.outbox import Outbox, Waiting

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def old(path: Path, schema: tuple[str, ...], row: str) -> Path:
    """A file as the version before wrote it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        migrate(database, schema[:1])
        database.execute(row)
    return path


def test_a_feed(tmp_path: Path) -> None:
    row = "INSERT INTO events (at, place, op, key, origin) VALUES (1, 'db/t', 'insert', '{}', 'call')"
    with closing(Feed(old(tmp_path / "feed.db", feed.SCHEMA, row))) as kept:
        kept.append("db/t", [Changed("insert", {"id": "1"})], "call", trace=TRACE)
        assert [event.trace for event in kept.after(0)] == ["", TRACE]


def test_an_outbox(tmp_path: Path) -> None:
    row = "INSERT INTO messages VALUES ('a', 'h', 1, 'insert', '{}', 1, 'waiting', 0, 1, 0, '', NULL)"
    with closing(Outbox(old(tmp_path / "outbox.db", outbox.SCHEMA, row))) as kept:
        kept.begin("h", 0)
        kept.add("h", 2, [Waiting("b", "h", 2, "insert", {"id": "1"}, 1.0, trace=TRACE)])
        assert [one.trace for one in kept.messages("h", 10)] == [TRACE, ""]


def test_an_intake(tmp_path: Path) -> None:
    row = "INSERT INTO sent (at, target, header, body) VALUES (1, 'v1/t', '', '')"
    with closing(SqliteIntake(old(tmp_path / "intake.db", intake.SCHEMA, row))) as kept:
        kept.append(Parcel("v1/t", b"", b"", 2.0, trace=TRACE)).result(10)
        assert [one.trace for one in kept.waiting(10)] == ["", TRACE]
