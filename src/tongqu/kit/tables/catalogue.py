"""Where tables are looked up: what a source discovers and a sink asks about its target."""

from __future__ import annotations

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Sequence

from tongqu.kit.ledger import PREFIX
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.shape import Table


class Catalogue(ABC):
    """Describes tables and views over one connection."""

    def __init__(self, db: TableDb, schema: str = ""):
        self.db = db
        self.schema = schema
        """The connection's own schema: its tables are named without it. Empty where the system has none."""

    @abstractmethod
    def names(self, schema: str) -> list[tuple[str, bool]]:
        """Tables and views of a schema, sorted, each with whether it is a view."""

    @abstractmethod
    def describe(self, schema: str, table: str, *, view: bool) -> Table:
        """A table that is there, in full."""

    def find(self, name: str) -> Table | None:
        """The table of a dataset's name, ours included, or None. A dot may be part of a table's name."""
        for schema, table in dict.fromkeys([(self.schema, name), self.parts(name)]):
            view = self.kind(schema, table)
            if view is not None:
                return self.describe(schema, table, view=view)
        return None

    def kind(self, schema: str, table: str) -> bool | None:
        """Whether it is a view; None if there is no such table."""
        return dict(self.names(schema)).get(table)

    def exists(self, name: str) -> bool:
        """Whether a table of that dataset name is there."""
        return any(self.kind(*one) is not None for one in dict.fromkeys([(self.schema, name), self.parts(name)]))

    def tables(self, patterns: Sequence[str] | None) -> list[Table]:
        """Tables and views whose names match any glob; other schemas only where a pattern names them."""
        schemas = {self.schema, *(p.partition(".")[0] for p in patterns or () if "." in p)}
        found = []
        for schema in sorted(one for one in schemas if "*" not in one):
            for table, view in self.names(schema):
                if not table.startswith(PREFIX) and (patterns is None or self._matches(schema, table, patterns)):
                    found.append(self.describe(schema, table, view=view))
        listed = {(one.schema, one.table) for one in found}
        for name in patterns or ():  # what is listed with another table, but named
            one = None if "*" in name or self.place(name) in listed else self.find(name)
            found += [one] if one is not None and not one.table.startswith(PREFIX) else []
        return found

    def _matches(self, schema: str, table: str, patterns: Sequence[str]) -> bool:
        names = [f"{schema}.{table}", *([table] if schema == self.schema else [])]
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)

    def parts(self, name: str) -> tuple[str, str]:
        """Schema and table of a dataset's name."""
        schema, dot, table = name.partition(".")
        return (schema, table) if dot else (self.schema, name)

    def place(self, name: str) -> tuple[str, str]:
        """Schema and table that a dataset's name means here, be it there or not."""
        if "." in name and self.kind(self.schema, name) is not None:
            return self.schema, name
        return self.parts(name)

    def title(self, schema: str, table: str) -> str:
        """The dataset's name of a table."""
        return table if schema == self.schema else f"{schema}.{table}"
