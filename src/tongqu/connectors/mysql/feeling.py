"""How a MySQL or MariaDB server does: the time of small questions, and its lag where it is a replica."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.core.errors import TongquError
from tongqu.core.feeling import Feeling, answered

_SMALL = "SELECT COUNT(*) FROM information_schema.ENGINES"
_REPLICA = ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
"""As newer and as older servers call it; both have Seconds_Behind_Source (_Master) at the same place."""
_BEHIND = 32


def feel(db: MysqlDb, between: Callable[[], object] | None) -> Feeling:
    """See Felt.feel. A login that may not see how replication stands is told of no lag."""
    seconds = answered(lambda: db.rows(_SMALL), between)
    for question in _REPLICA:
        with suppress(TongquError):
            behind = [row[_BEHIND] for row in db.rows(question) if row[_BEHIND] is not None]
            return Feeling(seconds, float(max(behind)) if behind else None)
    return Feeling(seconds)
