"""Changes single columns of a target's rows by key: what a log sends of a row whose large values did not change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tongqu.core.data import WriteMode
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import Landing

if TYPE_CHECKING:
    from tongqu.kit.sql.quarantining import Quarantining


def amended(system: Quarantining, db: Db, landing: Landing, columns: Sequence[str], rows: int) -> int:
    """Bring the target to the chunk's rows, which have only these columns, in the open transaction; returns how many
    rows were there. A history gets new versions, whose other columns are those of the versions before."""
    target, chunk, _ = system.places(db, landing)
    key, history = landing.write.key, landing.write.mode is WriteMode.HISTORY
    same = " AND ".join(f"t.{db.quote(name)} = s.{db.quote(name)}" for name in key)
    current = f" AND {system.current(db, 't')}" if history else ""
    there = int(db.rows(f"SELECT COUNT(*) FROM {chunk} s JOIN {target} t ON {same}{current}")[0][0])
    if there == 0:
        return 0
    if not history:
        values = [name for name in columns if name not in key]
        if values:
            system.update_from(db, (target, chunk), key, values)
        return there
    if there < rows:
        system.keep_matched(db, (chunk, target), key, current)
    own = landing.target.columns if landing.target is not None else landing.types
    missing = [name for name in landing.write.dataset.columns if name not in columns and name in own]
    if missing:
        system.update_from(db, (chunk, target), key, missing, f" AND {system.current(db, 's')}")
    system.merge(db, landing, landing.chunk)
    return there
