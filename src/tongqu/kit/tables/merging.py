"""Merges loaded rows into a target by key: upsert, history (SCD2), delete detection.

Counts come from a query before the statements, in the same transaction, not from affected-row tricks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, VALID_FROM, VALID_TO
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.native import Native


@dataclass(frozen=True)
class Merge:
    """One merge inside an open transaction. `target` and `source` are quoted; `at` is the instant as an expression."""

    db: TableDb
    target: str
    source: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    """Those that arrive and take values, the key among them."""
    types: Mapping[str, str]
    at: str
    soft: bool = False
    """The target has `_deleted_at`."""
    whole: bool = False
    """The source is a whole generation, so what it lacks is gone."""

    def merge(self, mode: WriteMode, deletes: Deletes) -> Written:
        """Upsert or history with the delete detection that is asked for."""
        return self._history(deletes) if mode is WriteMode.HISTORY else self.upsert(deletes)

    def upsert(self, deletes: Deletes) -> Written:
        """Insert new keys, update rows that differ, leave the others."""
        new, different, same = self._counts("")
        sets = [(self._q(name), f"s.{self._q(name)}") for name in self._values]
        if self.soft:
            sets.append((self._q(DELETED_AT), "NULL"))
        if self.db.dialect.merge == "merge" and (new or (different and sets)):
            self._say(self._whole_merge(sets))
        else:
            if different and sets:
                self._say(self.db.dialect.update(self.target, self.source, sets, self._on(), self._changed()))
            if new:
                self._insert("", "")
        return Written(inserted=new, updated=different, unchanged=same, deleted=self._vanished(deletes))

    def _whole_merge(self, sets: list[tuple[str, str]]) -> str:
        names = [self._q(name) for name in self.columns]
        return self.db.dialect.merged(
            self.target, self.source, self._on(), sets=sets, where=self._changed(), names=names
        )

    def _history(self, deletes: Deletes) -> Written:
        """Close changed versions and open new ones; a version that began at this very instant is changed in place."""
        current = f"t.{self._q(CURRENT)} = {self._true}"
        new, different, same = self._counts(f" AND {current}")
        closing = [(self._q(VALID_TO), self.at), (self._q(CURRENT), self._false)]
        if different:
            sets = [(self._q(name), f"s.{self._q(name)}") for name in self._values]
            begun = f"{current} AND t.{self._q(VALID_FROM)} >= {self.at}"
            update = self.db.dialect.update
            self._say(update(self.target, self.source, sets, self._on(), f"{begun} AND ({self._changed()})"))
            self._say(update(self.target, self.source, closing, self._on(), f"{current} AND ({self._changed()})"))
        if new or different:
            self._insert(f" AND {current}", f"{self.at}, NULL, {self._true}")
        deleted = 0
        if self.whole and deletes is not Deletes.IGNORE:
            where = f"{current} AND {self._gone()}"
            deleted = self.db.count(self.target, where)
            if deleted:
                self._say(self.db.dialect.update_alone(self.target, closing, where))
        return Written(inserted=new, updated=different, unchanged=same, deleted=deleted)

    # ---- parts

    @property
    def _values(self) -> list[str]:
        return [name for name in self.columns if name not in self.key]

    @property
    def _true(self) -> str:
        return self.db.dialect.truth[0]

    @property
    def _false(self) -> str:
        return self.db.dialect.truth[1]

    def _counts(self, also: str) -> tuple[int, int, int]:
        """Rows of the source that are new, that differ and that are identical."""
        first = f"t.{self._q(self.key[0])}"
        changed = self._changed() or "0 = 1"
        found = self.db.rows(
            f"SELECT COUNT(*), SUM(CASE WHEN {first} IS NULL THEN 1 ELSE 0 END), "
            f"SUM(CASE WHEN {first} IS NOT NULL AND ({changed}) THEN 1 ELSE 0 END) "
            f"FROM {self.source} s LEFT JOIN {self.target} t ON {self._on()}{also}"
        )[0]
        total, new, different = (int(value or 0) for value in found)
        return new, different, total - new - different

    def _insert(self, also: str, validity: str) -> None:
        names = [self._q(name) for name in self.columns]
        values = [f"s.{name}" for name in names]
        if validity:
            names += [self._q(VALID_FROM), self._q(VALID_TO), self._q(CURRENT)]
            values.append(validity)
        self._say(
            f"INSERT INTO {self.target} ({', '.join(names)}){self.db.overriding} "
            f"SELECT {', '.join(values)} FROM {self.source} s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.target} t WHERE {self._on()}{also})"
        )

    def _vanished(self, deletes: Deletes) -> int:
        if not self.whole or deletes is Deletes.IGNORE:
            return 0
        where = self._gone()
        if deletes is Deletes.SOFT:
            where = f"t.{self._q(DELETED_AT)} IS NULL AND {where}"
        deleted = self.db.count(self.target, where)
        if deleted:
            dialect = self.db.dialect
            marked = dialect.update_alone(self.target, [(self._q(DELETED_AT), self.at)], where)
            self._say(marked if deletes is Deletes.SOFT else dialect.delete(self.target, "t", where))
        return deleted

    def _gone(self) -> str:
        return f"NOT EXISTS (SELECT 1 FROM {self.source} s WHERE {self._on()})"

    def _on(self) -> str:
        return " AND ".join(f"t.{self._q(name)} = s.{self._q(name)}" for name in self.key)

    def _changed(self) -> str:
        tests = [
            self.db.dialect.differs(f"t.{self._q(name)}", f"s.{self._q(name)}", Native.parse(self.types[name]))
            for name in self._values
        ]
        if self.soft:
            tests.append(f"t.{self._q(DELETED_AT)} IS NOT NULL")
        return " OR ".join(tests)

    def _q(self, name: str) -> str:
        return self.db.quote(name)

    def _say(self, statement: str) -> None:
        self.db.say([statement])
