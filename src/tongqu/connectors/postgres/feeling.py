"""How a PostgreSQL server does: the time of small questions, and the lag of its replicas or its own."""

from __future__ import annotations

from statistics import quantiles
from time import perf_counter

from tongqu.connectors.postgres.db import PgDb
from tongqu.core.feeling import Feeling

_QUESTIONS = 15
_SMALL = "SELECT count(relname) FROM pg_catalog.pg_class WHERE oid BETWEEN 1 AND 4000"
_LAG = """SELECT CASE WHEN pg_is_in_recovery()
    THEN CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
         ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END
    ELSE (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication WHERE application_name NOT LIKE 'tongqu%')
    END"""


def feel(db: PgDb) -> Feeling:
    """See Felt.feel. Our own followers of the log are no replicas."""
    took = []
    for _ in range(_QUESTIONS):
        began = perf_counter()
        db.rows(_SMALL)
        took.append(perf_counter() - began)
    [(lag,)] = db.rows(_LAG)
    return Feeling(quantiles(took, n=4)[2], None if lag is None else float(lag))
