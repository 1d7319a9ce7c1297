"""Takes rows out of a target by their keys so that it can be seen later: versions are ended, rows are marked."""

from __future__ import annotations

from tongqu.core.data import WriteMode
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import DELETED, Landing


def retired(db: Db, landing: Landing, target: str, *, among: str, at: str) -> int:
    """End the current versions (history) or mark the rows (soft deletes) of the quoted `target` for which `among`
    holds, in the open transaction; returns how many.

    `at` is the instant the run began, as the target stores it. A version that began at that very instant was never
    visible to anybody else and is deleted.
    """
    if landing.write.mode is not WriteMode.HISTORY:
        mark = db.quote(DELETED)
        return db.run(f"UPDATE {target} SET {mark} = {at} WHERE {mark} IS NULL AND {among}")
    begun, ended, current = (db.quote(name) for name in ("_valid_from", "_valid_to", "_current"))
    new = db.run(f"DELETE FROM {target} WHERE {current} AND {begun} >= {at} AND {among}")
    return new + db.run(f"UPDATE {target} SET {ended} = {at}, {current} = FALSE WHERE {current} AND {among}")
