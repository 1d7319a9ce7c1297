"""Ends sessions of a process that was suspended while it held locks: its successor would wait for it for ever."""

from __future__ import annotations

import logging

from tongqu.connectors.postgres.db import PgDb

LOCKED = "55P03"
"""The SQLSTATE of a lock that could not be had in time."""
logger = logging.getLogger("tongqu.postgres")


def of(sync: str) -> str:
    """How the names of applications begin that write for a sync; run and attempt follow."""
    return f"tongqu sink {sync[:16]} "


def evict(db: PgDb, sync: str, own: str, seconds: float) -> int:
    """End our account's sessions that write for the sync in another run or attempt than `own`, and whose client has
    said nothing within an open transaction for half of `seconds`; how many.

    None of what they hold is committed, and none of it may be: whoever opened the stream later has fenced them off, and
    a process that is awake after all goes on from its checkpoint, if it is still its turn. A COPY that waits for its
    client counts as work to the server, so that `idle_in_transaction_session_timeout` never ends it.
    """
    [row] = db.rows(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
        "AND usename = current_user AND pid <> pg_backend_pid() AND left(application_name, ?) = ? "
        "AND application_name <> ? AND xact_start IS NOT NULL AND wait_event = 'ClientRead' "
        "AND state_change < clock_timestamp() - make_interval(secs => ?)",
        (len(of(sync)), of(sync), own, seconds / 2),
    )
    if row[0]:
        logger.warning("%d sessions of a process that was suspended held locks, and were ended", row[0])
    return int(row[0])
