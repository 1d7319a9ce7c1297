"""The tables of jobs, as numbered steps that SQLite and PostgreSQL both understand."""

from __future__ import annotations

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE tongqu_jobs (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, place TEXT NOT NULL, writer TEXT NOT NULL,
            dedup TEXT, connections TEXT NOT NULL, priority INTEGER NOT NULL, due DOUBLE PRECISION NOT NULL,
            retries INTEGER NOT NULL, timeout DOUBLE PRECISION NOT NULL, pinned INTEGER NOT NULL, kept INTEGER NOT NULL,
            spec TEXT NOT NULL, schedule TEXT NOT NULL, tick DOUBLE PRECISION NOT NULL, state TEXT NOT NULL,
            epoch BIGINT NOT NULL, holder TEXT NOT NULL, lease DOUBLE PRECISION NOT NULL, attempts INTEGER NOT NULL,
            failures INTEGER NOT NULL, wish TEXT NOT NULL, run TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
            began DOUBLE PRECISION NOT NULL, finished DOUBLE PRECISION NOT NULL, outcome TEXT NOT NULL)""",
        "CREATE UNIQUE INDEX tongqu_jobs_once ON tongqu_jobs (place, dedup)",
        "CREATE INDEX tongqu_jobs_waiting ON tongqu_jobs (state, due)",
        "CREATE INDEX tongqu_jobs_newest ON tongqu_jobs (created)",
        """CREATE TABLE tongqu_ticks (
            place TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, due DOUBLE PRECISION,
            last DOUBLE PRECISION NOT NULL, paused INTEGER NOT NULL, seen TEXT NOT NULL, PRIMARY KEY (place, name))""",
        "CREATE TABLE tongqu_owners (place TEXT PRIMARY KEY, host TEXT NOT NULL)",
    ),
    (
        """CREATE TABLE tongqu_budgets (
            place TEXT NOT NULL, connection TEXT NOT NULL, rate DOUBLE PRECISION NOT NULL,
            usual DOUBLE PRECISION NOT NULL, felt DOUBLE PRECISION NOT NULL, pressure DOUBLE PRECISION NOT NULL,
            beats BIGINT NOT NULL, judged DOUBLE PRECISION NOT NULL, PRIMARY KEY (place, connection))""",
        """CREATE TABLE tongqu_holders (
            place TEXT NOT NULL, connection TEXT NOT NULL, holder TEXT NOT NULL, seen DOUBLE PRECISION NOT NULL,
            passing DOUBLE PRECISION NOT NULL, PRIMARY KEY (place, connection, holder))""",
        """CREATE TABLE tongqu_slots (
            place TEXT NOT NULL, connection TEXT NOT NULL, number INTEGER NOT NULL, holder TEXT NOT NULL,
            seen DOUBLE PRECISION NOT NULL, PRIMARY KEY (place, connection, number))""",
        """CREATE TABLE tongqu_taken (
            place TEXT NOT NULL, connection TEXT NOT NULL, other TEXT NOT NULL, times BIGINT NOT NULL,
            PRIMARY KEY (place, connection, other))""",
    ),
    (
        "ALTER TABLE tongqu_budgets ADD COLUMN edge DOUBLE PRECISION NOT NULL DEFAULT 0",
        "ALTER TABLE tongqu_budgets ADD COLUMN spread DOUBLE PRECISION NOT NULL DEFAULT 0",
    ),
)
"""`dedup` is emptied when a job is over, so that the index holds open jobs only."""
