"""A catalogue that is asked in SQL: five queries say everything about a table."""

from __future__ import annotations

from dataclasses import dataclass

from tongqu.core.data import ForeignKey, Index
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.shape import Column, Table


@dataclass(frozen=True)
class Words:
    """The queries of one dialect; each but `schema` and `names` takes two parameters: schema and table."""

    schema: str
    """The connection's own schema; empty where the system has none."""
    names: str
    """Tables with 1 for views, of one schema; `{one}` is where a condition on the table's name (`?`) goes."""
    one: str
    """That condition."""
    columns: str
    """Name, type, whether nullable (1), default, `stored`/`virtual` if computed, whether identity (1), title."""
    primary: str
    """Column names of the primary key in order."""
    indexes: str
    """Index, whether unique (1) and column, in order, of indexes over whole plain columns without the primary key."""
    foreign: str
    """Constraint, column, schema, table and column it refers to, in order."""
    about: str
    """Title and estimated number of rows."""
    whole: str = ""
    """The condition that leaves out parts of other tables, which are read with those."""


class QueriedCatalogue(Catalogue):
    """Describes tables by the queries of a dialect."""

    def __init__(self, db: TableDb, words: Words, schema: str = ""):
        super().__init__(db, schema or (str(db.rows(words.schema)[0][0]).strip() if words.schema else ""))
        self._words = words

    def names(self, schema: str) -> list[tuple[str, bool]]:
        """See Catalogue.names."""
        found = self.db.rows(self._words.names.replace("{one}", self._words.whole), (schema,))
        return [(str(table), bool(int(view))) for table, view in found]

    def kind(self, schema: str, table: str) -> bool | None:
        """See Catalogue.kind."""
        found = self.db.rows(self._words.names.replace("{one}", self._words.one), (schema, table))
        return bool(int(found[0][1])) if found else None

    def describe(self, schema: str, table: str, *, view: bool) -> Table:
        """See Catalogue.describe."""
        where, words = (schema, table), self._words
        title, rows = (self.db.rows(words.about, where) or [("", None)])[0] if words.about else ("", None)
        columns = [
            Column(
                str(name), str(native).strip(), bool(int(nullable)), None if default is None else str(default).strip(),
                computed or None, bool(int(identity or 0)), _text(comment),
            )
            for name, native, nullable, default, computed, identity, comment in self.db.rows(words.columns, where)
        ]  # fmt: skip
        return Table(
            schema, table, self.title(schema, table), view, _text(title),
            None if rows is None or int(rows) < 0 else int(rows), columns,
            tuple(str(row[0]) for row in self.db.rows(words.primary, where)),
            self._indexes(where), self._foreign_keys(where),
        )  # fmt: skip

    def _indexes(self, where: tuple[str, str]) -> list[Index]:
        grouped: dict[str, tuple[bool, list[str]]] = {}
        for name, unique, column in self.db.rows(self._words.indexes, where):
            grouped.setdefault(str(name), (bool(int(unique)), []))[1].append(str(column))
        return [Index(tuple(columns), unique, name) for name, (unique, columns) in grouped.items()]

    def _foreign_keys(self, where: tuple[str, str]) -> list[ForeignKey]:
        grouped: dict[str, tuple[str, list[str], list[str]]] = {}
        for name, column, schema, table, to in self.db.rows(self._words.foreign, where):
            _, columns, targets = grouped.setdefault(str(name), (self.title(str(schema), str(table)), [], []))
            columns.append(str(column))
            targets.append(str(to))
        return [ForeignKey(tuple(columns), target, tuple(to)) for target, columns, to in grouped.values()]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
