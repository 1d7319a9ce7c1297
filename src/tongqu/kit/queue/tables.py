"""The tables of a queue's file, and the connections to it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tongqu.core.errors import CheckpointError, NotFoundError, PrivilegeError
from tongqu.kit.ledger import Ledger
from tongqu.kit.local_path import absolute, sink_folder
from tongqu.kit.sqlite import SqliteDb, connect

VERSION = 1
PAGE_BYTES = 8192

_TABLES = (
    """
    CREATE TABLE queue (
        id TEXT NOT NULL, version INTEGER NOT NULL, generation INTEGER NOT NULL, last INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE topic (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        key TEXT NOT NULL,
        changes INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        last INTEGER NOT NULL,
        trimmed INTEGER NOT NULL
    )
    """,
    "CREATE TABLE shape (id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, arrow BLOB NOT NULL)",
    "CREATE TABLE block (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
    """
    CREATE TABLE entry (
        last INTEGER PRIMARY KEY,
        first INTEGER NOT NULL,
        previous INTEGER NOT NULL,
        topic INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        ends INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        block INTEGER NOT NULL
    )
    """,
    "CREATE INDEX entry_of_topic ON entry (topic, last)",
    """
    CREATE TABLE loose (
        block INTEGER PRIMARY KEY,
        stage TEXT NOT NULL,
        rows INTEGER NOT NULL,
        shape INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    )
    """,
    "CREATE INDEX loose_by_stage ON loose (stage, block)",
    """
    CREATE TABLE reader (
        topic INTEGER NOT NULL,
        name TEXT NOT NULL,
        after INTEGER NOT NULL,
        at REAL NOT NULL,
        round INTEGER NOT NULL DEFAULT 0,
        again INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (topic, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE cut (
        generation INTEGER PRIMARY KEY, after INTEGER NOT NULL, at REAL NOT NULL, bytes INTEGER NOT NULL
    )
    """,
)


@dataclass(frozen=True)
class QueueFile:
    """Where a queue is, and how long to wait for another process that appends."""

    path: str
    busy_seconds: float = 30.0

    def display(self) -> str:
        """See SqliteFile."""
        return f"queue:{self.path}"


def reading(file: QueueFile) -> SqliteDb:
    """A connection that reads; NotFoundError if there is no queue yet, or it is being made at this moment."""
    absent = NotFoundError(f"there is no queue {file.path!r}", hint="a queue is made by whoever writes into it first")
    if not Path(absolute(file.path)).exists():
        raise absent
    db = connect(file, "ro")
    try:
        if not db.rows("SELECT 1 FROM sqlite_master LIMIT 1"):
            raise absent
        _known(db, file)
    except BaseException:
        db.close()
        raise
    return db


def writing(file: QueueFile, new_id: str) -> SqliteDb:
    """A connection that appends, whose commits wait for the disk; makes the file and its tables."""
    sink_folder(file.path)
    path = absolute(file.path)
    if not Path(path).exists():
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    db = connect(file, "rwc")
    try:
        made = bool(db.rows("SELECT 1 FROM sqlite_master LIMIT 1"))
        if not made:
            db.run(f"PRAGMA page_size = {PAGE_BYTES}")
            db.run("PRAGMA auto_vacuum = incremental")
        db.rows("PRAGMA journal_mode = wal")
        db.begin()
        if not db.rows("SELECT 1 FROM sqlite_master WHERE type = 'table'"):
            for statement in _TABLES:
                db.run(statement)
            db.run("INSERT INTO queue VALUES (?, ?, 1, 0)", (new_id, VERSION))
        db.commit()
        _known(db, file)
        Ledger(db).create()
    except BaseException:
        db.rollback()
        db.close()
        raise
    return db


def _known(db: SqliteDb, file: QueueFile) -> None:
    found = db.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'queue'")
    version = int(db.rows("SELECT version FROM queue")[0][0]) if found else 0
    if version != VERSION:
        raise CheckpointError(
            f"{file.display()} is no queue of ours (format {version}, ours is {VERSION})",
            hint="name another file, or run the version that wrote it",
        )


def lock_file(file: QueueFile, *, create: bool) -> int | None:
    """The open file beside the queue by whose lock processes see each other; None if it is not there or not ours."""
    path = f"{absolute(file.path)}.lock"
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        if not create:
            return None
        raise PrivilegeError(f"{path} cannot be written: {error}", hint="check the rights on the folder") from error


Kind = Literal["rows", "truncate"]
