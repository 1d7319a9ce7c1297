"""Merges loaded rows into the target by key: upsert, history (SCD2), delete detection.

Keys are equal as the target's own index says (its collation); whether a row changed is decided byte by byte. Counts
come from queries, not from affected-row tricks. UPDATE with a join plus INSERT of what is missing is used instead of
ON DUPLICATE KEY UPDATE, which takes whichever unique index is hit first.
"""

from __future__ import annotations

from tongqu.connectors.mysql.db import MysqlDb, literal, quoted
from tongqu.connectors.mysql.ddl import DELETED, SEQUENCE, load_columns, place
from tongqu.connectors.mysql.types import Native, is_bytes, is_text
from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.kit.sql.landing import Landing


def merge(db: MysqlDb, landing: Landing, source: str) -> Written:
    """Merge `source` (the chunk or the staged generation) into the target."""
    table = quoted(source.rpartition(".")[2]) if source == landing.chunk else place(db, source)
    step = Merge(db, landing, table)
    merged = db.superseded if source == landing.chunk else step.deduplicate()
    written = step.history() if landing.write.mode is WriteMode.HISTORY else step.upsert(landing.write.deletes)
    written.merged = merged
    return written


def refill(db: MysqlDb, landing: Landing) -> Written:
    """Make the target's rows those of the stage without giving up the table, in the open transaction."""
    step = Merge(db, landing, place(db, landing.stage))
    if landing.write.key:
        return step.upsert(Deletes.HARD)
    name, columns = place(db, landing.write.dataset.name), ", ".join(quoted(n) for n in load_columns(landing))
    deleted = db.run(f"DELETE FROM {name}")
    inserted = db.run(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {place(db, landing.stage)}")
    return Written(inserted=inserted, deleted=deleted)


def instant(started_at: str) -> str:
    """The instant a run began, as SQL."""
    at = started_at.replace("T", " ").removesuffix("Z").split("+")[0]
    return f"CAST({literal(at)} AS DATETIME(6))" if at else "UTC_TIMESTAMP(6)"


class Merge:
    """The statements of one merge; each names the source table once, since a temporary table can be opened once."""

    def __init__(self, db: MysqlDb, landing: Landing, source: str):
        self._db = db
        self._key = landing.write.key
        self._columns = load_columns(landing)
        self._types = landing.types
        self._target = place(db, landing.write.dataset.name)
        self._source = source
        self._whole = landing.staged
        self._deletes = landing.write.deletes
        self._at = instant(landing.write.started_at)
        self._soft = landing.write.deletes is Deletes.SOFT and landing.write.mode is WriteMode.UPSERT

    def deduplicate(self) -> int:
        """Remove rows of the stage that a later row of the same key supersedes; returns their number."""
        if not self._key:
            return 0
        same = " AND ".join(f"a.{quoted(n)} = b.{quoted(n)}" for n in self._key)
        later = f"b.{quoted(SEQUENCE)} > a.{quoted(SEQUENCE)}"
        return self._db.run(f"DELETE a FROM {self._source} a JOIN {self._source} b ON {same} AND {later}")

    def _on(self) -> str:
        return " AND ".join(f"t.{quoted(n)} = s.{quoted(n)}" for n in self._key)

    def _same(self) -> str:
        """Whether all columns are identical, byte by byte."""
        tests = []
        for name in self._columns:
            native = Native.parse(self._types.get(name, "longtext"))
            exact = is_text(native) or is_bytes(native)
            left, right = (f"{alias}.{quoted(name)}" for alias in "ts")
            if native.name == "json":
                left, right, exact = f"CAST({left} AS CHAR)", f"CAST({right} AS CHAR)", True
            tests.append(f"CAST({left} AS BINARY) <=> CAST({right} AS BINARY)" if exact else f"{left} <=> {right}")
        if self._soft:
            tests.append(f"t.{quoted(DELETED)} IS NULL")
        return "(" + " AND ".join(tests) + ")"

    def _sets(self) -> str:
        sets = [f"t.{quoted(n)} = s.{quoted(n)}" for n in self._columns]
        return ", ".join([*sets, f"t.{quoted(DELETED)} = NULL"] if self._soft else sets)

    def _counts(self, also: str = "") -> tuple[int, int, int]:
        """Rows of the source that are new, that differ and that are identical."""
        first = f"t.{quoted(self._key[0])}"
        found = self._db.rows(
            f"SELECT COUNT(*), SUM({first} IS NULL), SUM({first} IS NOT NULL AND NOT {self._same()}) "
            f"FROM {self._source} s LEFT JOIN {self._target} t ON {self._on()}{also}"
        )[0]
        total, new, different = (int(value or 0) for value in found)
        return new, different, total - new - different

    def upsert(self, deletes: Deletes) -> Written:
        """Insert new keys, update rows that differ, leave the others, and with a whole generation look for deletes."""
        new, different, same = self._counts()
        if different:
            self._db.run(
                f"UPDATE {self._target} t JOIN {self._source} s ON {self._on()} SET {self._sets()} "
                f"WHERE NOT {self._same()}"
            )
        if new:
            self._insert("", "")
        return Written(inserted=new, updated=different, unchanged=same, deleted=self._delete(deletes))

    def _insert(self, also: str, extra: str) -> None:
        names = ", ".join(quoted(n) for n in self._columns)
        values = ", ".join(f"s.{quoted(n)}" for n in self._columns)
        more = ", ".join(quoted(n) for n in ("_valid_from", "_valid_to", "_current")) if extra else ""
        self._db.run(
            f"INSERT INTO {self._target} ({names}{', ' + more if more else ''}) "
            f"SELECT {values}{', ' + extra if extra else ''} FROM {self._source} s "
            f"LEFT JOIN {self._target} t ON {self._on()}{also} WHERE t.{quoted(self._key[0])} IS NULL"
        )

    def _delete(self, deletes: Deletes) -> int:
        if not self._whole or deletes is Deletes.IGNORE:
            return 0
        gone = f"LEFT JOIN {self._source} s ON {self._on()}"
        missing = f"s.{quoted(self._key[0])} IS NULL"
        if deletes is Deletes.SOFT:
            deleted = quoted(DELETED)
            return self._db.run(
                f"UPDATE {self._target} t {gone} SET t.{deleted} = {self._at} WHERE {missing} AND t.{deleted} IS NULL"
            )
        return self._db.run(f"DELETE t FROM {self._target} t {gone} WHERE {missing}")

    def retire(self) -> int:
        """End the current versions of the source's keys, or mark their rows as deleted; returns how many. Versions that
        began at this very instant are deleted."""
        both = f"{self._target} t JOIN {self._source} s ON {self._on()}"
        if self._soft:
            deleted = quoted(DELETED)
            return self._db.run(f"UPDATE {both} SET t.{deleted} = {self._at} WHERE t.{deleted} IS NULL")
        new = self._db.run(f"DELETE t FROM {both} AND t.`_current` = 1 WHERE t.`_valid_from` >= {self._at}")
        ended = f"t.`_valid_to` = {self._at}, t.`_current` = 0"
        return new + self._db.run(f"UPDATE {both} AND t.`_current` = 1 SET {ended}")

    def history(self) -> Written:
        """Close changed versions and insert the new ones; with a whole generation also close vanished keys.

        A version that began at this very instant is changed in place: it was never visible to anybody else.
        """
        current = " AND t.`_current` = 1"
        new, different, same = self._counts(current)
        closing = f"t.`_valid_to` = {self._at}, t.`_current` = 0"
        if different:
            join = f"UPDATE {self._target} t JOIN {self._source} s ON {self._on()}{current}"
            self._db.run(f"{join} SET {self._sets()} WHERE NOT {self._same()} AND t.`_valid_from` >= {self._at}")
            self._db.run(f"{join} SET {closing} WHERE NOT {self._same()}")
        if new or different:
            self._insert(current, f"{self._at}, NULL, 1")
        deleted = 0
        if self._whole and self._deletes is not Deletes.IGNORE:
            deleted = self._db.run(
                f"UPDATE {self._target} t LEFT JOIN {self._source} s ON {self._on()} SET {closing} "
                f"WHERE s.{quoted(self._key[0])} IS NULL{current}"
            )
        return Written(inserted=new, updated=different, unchanged=same, deleted=deleted)
