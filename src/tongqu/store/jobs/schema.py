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
)
"""`dedup` is emptied when a job is over, so that the index holds open jobs only."""
