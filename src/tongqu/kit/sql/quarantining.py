"""What a SQL sink does for quarantined rows: keeps them, takes mended versions, and guards the target on replay."""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from tongqu.core.data import WriteMode
from tongqu.core.dirty import Dirty, Fix
from tongqu.kit.db import Db
from tongqu.kit.ledger import CHECKPOINT, Ledger
from tongqu.kit.quarantine import QUARANTINE, TOLD
from tongqu.kit.sql.landing import Landing
from tongqu.kit.sql.system import SqlSystem


class Quarantining(SqlSystem):
    """The part of `SqlSink` that answers for quarantine; each call is one transaction of the sink's own connection."""

    row_id: ClassVar[str] = ""
    """Pseudo-column that tells the rows of a staged generation apart and grows as they come; empty if there is none, or
    if the generation holds its keys from the first row on."""
    row_hole: ClassVar[str] = "?"
    """A parameter of that column's type."""
    _lock: threading.RLock
    """Held by whoever uses the sink's own connection: threads share it."""

    @abstractmethod
    def control(self) -> Db:
        """The sink's own connection."""

    @abstractmethod
    def ledger(self, db: Db) -> Ledger:
        """The ledger over a connection."""

    @abstractmethod
    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """The target, the session's chunk table and the staged generation, quoted."""

    def exists(self) -> bool:
        """Whether the database is there; a file that is not must not be made by looking."""
        return True

    def dirty(self, which: Dirty) -> list[dict[str, Any]]:
        """See Sink.dirty."""
        if not self.exists():
            return []
        with self._lock:
            db = self.control()
            if not self.has_table(db, QUARANTINE):
                return []
            kept = self.ledger(db).quarantine
            kept.widen()
            return kept.rows(which)

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Sink.fix."""
        with self._lock:
            db = self.control()
            kept = self.ledger(db).quarantine
            kept.widen()
            db.begin()
            try:
                done = kept.fix(fixes)
            except BaseException:
                db.rollback()
                raise
            db.commit()
            return done

    def replaying(self, sync: str, stream: str) -> dict[str, Any]:
        """See Sink.replaying."""
        if not self.exists():
            return {}
        with self._lock:
            db = self.control()
            head = self.ledger(db).head(sync, stream) if self.has_table(db, CHECKPOINT) else None
        if head is None or "key" not in head.spec:
            return {}
        told = {name: head.spec.get(name) for name in TOLD}
        return {**told, "mode": head.spec["write"], "run": head.run, "finished": head.finished}

    def picked(self, db: Db, query: str, names: Sequence[str]) -> list[tuple[Any, str]]:
        """A few rows of a query whose first column tells them apart: that, and the columns `names` as JSON."""
        from tongqu.kit.originals import plain

        return [
            (id, json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False, default=plain))
            for id, *values in db.rows(query)
        ]

    def outdated(self, db: Db, landing: Landing) -> bool:
        """Whether the loaded chunk holds a row that is older, by the cursor, than the target's of the same key."""
        cursor = landing.write.cursor
        if cursor is None or landing.target is None or cursor not in landing.target.columns:
            return False
        target, chunk, _ = self.places(db, landing)
        tests = [f"t.{db.quote(name)} = s.{db.quote(name)}" for name in landing.write.key]
        tests.append(f"t.{db.quote(cursor)} > s.{db.quote(cursor)}")
        if landing.write.mode is WriteMode.HISTORY:
            tests.append(f"t.{db.quote('_current')}")
        found = db.rows(f"SELECT count(*) FROM {chunk} s JOIN {target} t ON {' AND '.join(tests)}")
        return bool(found[0][0])
