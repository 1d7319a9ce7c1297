"""The SQL that merges a chunk or a staged generation into its target, for systems with `UPDATE … FROM`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import Landing

VALID_FROM, VALID_TO, CURRENT, DELETED_AT = "_valid_from", "_valid_to", "_current", "_deleted_at"
OURS = (VALID_FROM, VALID_TO, CURRENT, DELETED_AT)
"""Columns we add to targets: SCD2 validity (null `_valid_to` = current) and soft deletes (null = alive)."""


@dataclass(frozen=True)
class Merging:
    """One merge inside an open transaction.

    `target` and `source` are quoted; `columns` arrive and take values; `at` is the instant as the target stores it.
    `differs(a, b)` compares two columns null-safe and exactly. The counts come from the statements themselves.
    """

    db: Db
    target: str
    source: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    at: str
    soft: bool
    """The target has `_deleted_at`."""
    differs: Callable[[str, str], str]
    row: str = "rowid"
    """Pseudo-column that grows with arrival order."""

    def merge(self, landing: Landing) -> Written:
        """Upsert or history with the delete detection that the write asks for."""
        write = landing.write
        written = Written(merged=0 if write.unique and not landing.staged else self._keep_last())
        if write.mode is WriteMode.HISTORY:
            self._history(written)
        else:
            self._upsert(written)
        if landing.staged and write.deletes is not Deletes.IGNORE:
            written.deleted = self._vanished(write.mode, write.deletes)
        return written

    def _keep_last(self) -> int:
        keys = ", ".join(self.db.quote(name) for name in self.key)
        repeated = f"SELECT 1 FROM {self.source} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
        if not self.db.rows(repeated):
            return 0
        return self.db.run(
            f"DELETE FROM {self.source} WHERE {self.row} NOT IN "
            f"(SELECT max({self.row}) FROM {self.source} GROUP BY {keys})"
        )

    def _upsert(self, written: Written) -> None:
        values = [name for name in self.columns if name not in self.key]
        revived = f"t.{self._q(DELETED_AT)} IS NOT NULL" if self.soft else ""
        changed = " OR ".join(filter(None, [self._changed(values), revived]))
        sets = [f"{self._q(name)} = s.{self._q(name)}" for name in values]
        if self.soft:
            sets.append(f"{self._q(DELETED_AT)} = NULL")
        total = self._count(self.source)
        if changed:
            written.updated = self.db.run(
                f"UPDATE {self.target} AS t SET {', '.join(sets)} FROM {self.source} AS s "
                f"WHERE {self._same_key()} AND ({changed})"
            )
        written.inserted = self._insert("", f"SELECT 1 FROM {self.target} AS t WHERE {self._same_key()}")
        written.unchanged = total - written.updated - written.inserted

    def _history(self, written: Written) -> None:
        values = [name for name in self.columns if name not in self.key]
        changed = self._changed(values) or "0 = 1"
        current = f"t.{self._q(CURRENT)}"
        begun, ended = self._q(VALID_FROM), self._q(VALID_TO)
        total = self._count(self.source)
        sets = ", ".join(f"{self._q(name)} = s.{self._q(name)}" for name in values)
        again = 0
        if values:  # a second version within one run has no time of its own: it takes the first one's place
            again = self.db.run(
                f"UPDATE {self.target} AS t SET {sets} FROM {self.source} AS s WHERE {self._same_key()} "
                f"AND {current} AND t.{begun} = {self.at} AND ({changed})"
            )
        closed = self.db.run(
            f"UPDATE {self.target} AS t SET {ended} = {self.at}, {self._q(CURRENT)} = FALSE "
            f"FROM {self.source} AS s WHERE {self._same_key()} AND {current} AND ({changed})"
        )
        opened = self._insert(
            f"{self.at}, NULL, TRUE",
            f"SELECT 1 FROM {self.target} AS t WHERE {self._same_key()} AND {current}",
        )
        written.updated = again + closed
        written.inserted = opened - closed
        written.unchanged = total - written.updated - written.inserted

    def _insert(self, validity: str, unless: str) -> int:
        names = [self._q(name) for name in self.columns]
        values = [f"s.{name}" for name in names]
        if validity:
            names += [self._q(VALID_FROM), self._q(VALID_TO), self._q(CURRENT)]
            values.append(validity)
        return self.db.run(
            f"INSERT INTO {self.target} ({', '.join(names)}) SELECT {', '.join(values)} FROM {self.source} AS s "
            f"WHERE NOT EXISTS ({unless})"
        )

    def _vanished(self, mode: WriteMode, deletes: Deletes) -> int:
        gone = f"NOT EXISTS (SELECT 1 FROM {self.source} AS s WHERE {self._same_key()})"
        if mode is WriteMode.HISTORY:
            return self.db.run(
                f"UPDATE {self.target} AS t SET {self._q(VALID_TO)} = {self.at}, {self._q(CURRENT)} = FALSE "
                f"WHERE t.{self._q(CURRENT)} AND {gone}"
            )
        if deletes is Deletes.SOFT:
            return self.db.run(
                f"UPDATE {self.target} AS t SET {self._q(DELETED_AT)} = {self.at} "
                f"WHERE t.{self._q(DELETED_AT)} IS NULL AND {gone}"
            )
        return self.db.run(f"DELETE FROM {self.target} AS t WHERE {gone}")

    def _same_key(self) -> str:
        return " AND ".join(f"t.{self._q(name)} = s.{self._q(name)}" for name in self.key)

    def _changed(self, values: list[str]) -> str:
        return " OR ".join(self.differs(f"t.{self._q(name)}", f"s.{self._q(name)}") for name in values)

    def _count(self, table: str) -> int:
        return int(self.db.rows(f"SELECT count(*) FROM {table}")[0][0])

    def _q(self, name: str) -> str:
        return self.db.quote(name)
