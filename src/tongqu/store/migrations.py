"""The schemas of the home's databases as numbered steps; `PRAGMA user_version` says how many were taken."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from tongqu.core.errors import CheckpointError

RUNS: tuple[str, ...] = (
    """
    CREATE TABLE runs (
        run TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        command TEXT NOT NULL,
        status TEXT NOT NULL,
        started TEXT NOT NULL,
        finished TEXT,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        pid_started INTEGER,
        attempts INTEGER NOT NULL DEFAULT 1,
        lane TEXT NOT NULL DEFAULT '',
        read INTEGER NOT NULL DEFAULT 0,
        written INTEGER NOT NULL DEFAULT 0,
        quarantined INTEGER NOT NULL DEFAULT 0,
        sinks TEXT NOT NULL DEFAULT '[]',
        project TEXT NOT NULL DEFAULT '',
        document TEXT
    );
    CREATE INDEX runs_by_start ON runs (started DESC);
    CREATE TABLE plans (
        run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
        stream TEXT NOT NULL,
        plan TEXT NOT NULL,
        PRIMARY KEY (run, stream)
    ) WITHOUT ROWID;
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
        at TEXT NOT NULL,
        level TEXT NOT NULL,
        line TEXT NOT NULL
    );
    CREATE INDEX logs_by_run ON logs (run, id);
    """,
    """
    CREATE TABLE flows (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        mode TEXT NOT NULL,
        write TEXT NOT NULL,
        sources TEXT NOT NULL,
        sink TEXT NOT NULL,
        columns TEXT NOT NULL,
        steps TEXT NOT NULL,
        key TEXT NOT NULL,
        copies TEXT NOT NULL,
        links TEXT NOT NULL,
        run TEXT NOT NULL,
        project TEXT NOT NULL,
        version INTEGER NOT NULL,
        hash TEXT NOT NULL,
        first_at TEXT NOT NULL,
        last_at TEXT NOT NULL
    );
    CREATE TABLE flow_runs (
        id TEXT NOT NULL REFERENCES flows ON DELETE CASCADE,
        run TEXT NOT NULL,
        version INTEGER NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (id, run)
    ) WITHOUT ROWID;
    ALTER TABLE runs ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN hash TEXT NOT NULL DEFAULT '';
    """,
)
"""What each version adds; never edit a step that was released, add one."""

VERSIONS: tuple[str, ...] = (
    """
    CREATE TABLE versions (
        env TEXT NOT NULL,
        version INTEGER NOT NULL,
        parent INTEGER NOT NULL,
        state TEXT NOT NULL,
        kind TEXT NOT NULL,
        hash TEXT NOT NULL,
        shared TEXT NOT NULL,
        overlay TEXT NOT NULL,
        actor TEXT NOT NULL,
        account TEXT NOT NULL,
        at TEXT NOT NULL,
        reason TEXT NOT NULL,
        changes TEXT NOT NULL,
        origin TEXT NOT NULL,
        approver TEXT NOT NULL,
        approved_at TEXT NOT NULL,
        PRIMARY KEY (env, version)
    );
    CREATE TABLE heads (env TEXT PRIMARY KEY, version INTEGER NOT NULL);
    """,
)
"""The same for the versions of a project."""
PROFILES: tuple[str, ...] = (
    """
    CREATE TABLE profiles (
        id TEXT PRIMARY KEY,
        at TEXT NOT NULL,
        place TEXT NOT NULL,
        dataset TEXT NOT NULL,
        rows INTEGER NOT NULL,
        document TEXT NOT NULL
    );
    CREATE INDEX profiles_by_dataset ON profiles (place, dataset, at DESC);
    """,
)
"""The same for profiles of datasets."""
SECRETS: tuple[str, ...] = (
    """
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        purpose TEXT NOT NULL,
        current INTEGER NOT NULL,
        created TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        wrapped_by TEXT NOT NULL,
        nonce BLOB NOT NULL,
        ciphertext BLOB NOT NULL,
        tag BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX one_current_key ON keys (current) WHERE current = 1;
    CREATE TABLE secrets (
        name TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        created TEXT NOT NULL,
        changed TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        key TEXT NOT NULL REFERENCES keys (id),
        nonce BLOB NOT NULL,
        ciphertext BLOB NOT NULL,
        tag BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX secrets_by_key ON secrets (key);
    """,
)
"""The same for sealed secrets: `keys` are data keys, each sealed (`algorithm … tag`) by the key `wrapped_by` for an
algorithm of its own (`purpose`)."""
SECRET_USAGE: tuple[str, ...] = (
    """
    CREATE TABLE uses (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        command TEXT NOT NULL,
        run TEXT NOT NULL,
        session TEXT NOT NULL,
        pid INTEGER NOT NULL
    );
    CREATE INDEX uses_by_name ON uses (name, id);
    CREATE INDEX uses_by_session ON uses (session);
    """,
)
"""The same for the log of resolved references."""

API_USAGE: tuple[str, ...] = (
    """
    CREATE TABLE uses (
        api TEXT NOT NULL,
        version TEXT NOT NULL,
        client TEXT NOT NULL,
        field TEXT NOT NULL,
        day TEXT NOT NULL,
        count INTEGER NOT NULL,
        last TEXT NOT NULL,
        PRIMARY KEY (api, version, client, field, day)
    ) WITHOUT ROWID;
    CREATE INDEX uses_by_day ON uses (day);
    """,
)
"""The same for who used which field of which API; a field of no name counts calls."""


DRILLS: tuple[str, ...] = (
    """
    CREATE TABLE drills (
        id INTEGER PRIMARY KEY,
        target TEXT NOT NULL,
        at TEXT NOT NULL,
        document TEXT NOT NULL
    );
    CREATE INDEX drills_by_target ON drills (target, id);
    """,
)
"""The same for security drills."""


TOMBSTONES: tuple[str, ...] = (
    """
    CREATE TABLE tombstones (
        identity TEXT NOT NULL,
        digest TEXT NOT NULL,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (identity, digest)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE holds (
        identity TEXT NOT NULL,
        digest TEXT NOT NULL,
        dataset TEXT NOT NULL,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (identity, digest, dataset)
    ) WITHOUT ROWID;
    """,
)
"""The same for erased persons, by keyed digests, and for what must not be erased: persons, or datasets as a whole."""

TWO_WAY: tuple[str, ...] = (
    """
    CREATE TABLE syncs (
        name TEXT PRIMARY KEY,
        stage TEXT NOT NULL,
        since REAL NOT NULL,
        positions TEXT NOT NULL DEFAULT '{}',
        shape TEXT NOT NULL DEFAULT '',
        epoch INTEGER NOT NULL DEFAULT 0,
        rounds INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE records (
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        row TEXT,
        last TEXT,
        bases TEXT NOT NULL DEFAULT '{}',
        version INTEGER NOT NULL,
        origin TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (name, key)
    ) WITHOUT ROWID;
    CREATE INDEX records_behind ON records (name, key) WHERE bases <> '{}';
    CREATE TABLE batches (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        body TEXT NOT NULL,
        open INTEGER NOT NULL DEFAULT 1,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX batches_open ON batches (name) WHERE open = 1;
    CREATE TABLE steps (
        batch TEXT NOT NULL,
        step TEXT NOT NULL,
        outcome TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (batch, step)
    ) WITHOUT ROWID;
    CREATE TABLE overruled (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        side TEXT NOT NULL,
        said TEXT,
        agreed TEXT,
        at REAL NOT NULL
    );
    CREATE TABLE conflicts (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        kind TEXT NOT NULL,
        sides TEXT NOT NULL,
        why TEXT NOT NULL,
        state TEXT NOT NULL,
        ruling TEXT NOT NULL DEFAULT '',
        who TEXT NOT NULL DEFAULT '',
        at REAL NOT NULL
    );
    CREATE UNIQUE INDEX conflicts_waiting ON conflicts (name, key) WHERE state <> 'settled';
    CREATE TABLE rounds (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        at REAL NOT NULL,
        stage TEXT NOT NULL,
        records INTEGER NOT NULL,
        differences INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        p95_ms REAL NOT NULL
    );
    CREATE INDEX rounds_of ON rounds (name, id);
    CREATE TABLE moves (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        at REAL NOT NULL,
        before TEXT NOT NULL,
        stage TEXT NOT NULL,
        why TEXT NOT NULL,
        who TEXT NOT NULL
    );
    """,
    """
    ALTER TABLE syncs ADD COLUMN told TEXT NOT NULL DEFAULT '{}';
    UPDATE syncs SET told = json_object('move', (SELECT coalesce(max(id), 0) FROM moves));
    """,
    """
    ALTER TABLE syncs ADD COLUMN sides TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE records ADD COLUMN made TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE records ADD COLUMN echoes TEXT NOT NULL DEFAULT '{}';
    """,
    """
    ALTER TABLE syncs ADD COLUMN ends TEXT NOT NULL DEFAULT '{}';
    """,
)
"""The same for two-way syncs: records as they were agreed, what was intended and done, what waits for a person."""


def migrate(connection: sqlite3.Connection, steps: tuple[str, ...]) -> None:
    """Bring the database to the newest version, each step in its own transaction; processes that come at the same
    moment take each step once.

    Raises CheckpointError if a newer Tongqu wrote it.
    """
    version = _version(connection)
    if version > len(steps):
        raise CheckpointError(
            f"this store has version {version}, this Tongqu knows {len(steps)}", hint="use the newer Tongqu"
        )
    for number, step in enumerate(steps[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) < number:
                for statement in _statements(step):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            if connection.in_transaction:  # a full disk has rolled it back already
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a step; a trigger is one, whatever semicolons are in it."""
    text = ""
    for piece in script.split(";")[:-1]:
        text += f"{piece};"
        if sqlite3.complete_statement(text):
            yield text
            text = ""
