"""How a PostgreSQL server does: the time of small questions, and the lag of its replicas or its own."""

from __future__ import annotations

from collections.abc import Callable

from tongqu.connectors.postgres.db import PgDb
from tongqu.core.feeling import Feeling, answered

_SMALL = "SELECT count(relname) FROM pg_catalog.pg_class WHERE oid BETWEEN 1 AND 1300"
_LAG = """SELECT CASE WHEN pg_is_in_recovery()
    THEN CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
         ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END
    ELSE (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication WHERE application_name NOT LIKE 'tongqu%')
    END"""


def feel(db: PgDb, between: Callable[[], object] | None) -> Feeling:
    """See Felt.feel. Our own followers of the log are no replicas."""
    seconds = answered(lambda: db.rows(_SMALL), between)
    [(lag,)] = db.rows(_LAG)
    return Feeling(seconds, None if lag is None else float(lag))
