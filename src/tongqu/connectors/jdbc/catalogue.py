"""What a JDBC driver itself tells about tables, for servers whose catalogue nobody knows how to ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tongqu.core.data import Index
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.shape import Column, Table

_SIZED = ("char", "varchar", "nchar", "nvarchar", "varchar2", "character", "binary", "varbinary")
_NUMBERS = ("decimal", "numeric", "number", "dec")


class JdbcCatalogue(Catalogue):
    """Describes tables by java.sql.DatabaseMetaData."""

    def _asked(self, found: Any, *names: str) -> Iterator[list[str | None]]:
        try:
            while found.next():
                row = [found.getString(name) for name in names]
                yield [None if value is None else str(value) for value in row]
        except self.db.failures as error:
            raise self.db.meaning(error) from None
        finally:
            found.close()

    @property
    def _about(self) -> Any:
        return self.db.connection.java.getMetaData()

    def names(self, schema: str) -> list[tuple[str, bool]]:
        """See Catalogue.names."""
        found = self._about.getTables(None, schema or None, "%", None)
        rows = list(self._asked(found, "TABLE_NAME", "TABLE_TYPE"))
        return sorted({(str(name), kind == "VIEW") for name, kind in rows if kind in ("TABLE", "BASE TABLE", "VIEW")})

    def describe(self, schema: str, table: str, *, view: bool) -> Table:
        """See Catalogue.describe."""
        about, within = self._about, schema or None
        told = ("COLUMN_NAME", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE", "COLUMN_DEF", "REMARKS",
                "TABLE_NAME")  # fmt: skip
        columns = [
            Column(str(name), _native(str(kind), size, digits), nullable != "0", default, comment=remarks or "")
            for name, kind, size, digits, nullable, default, remarks, owner in self._asked(
                about.getColumns(None, within, table, "%"), *told
            )
            if owner == table
        ]
        keys = list(self._asked(about.getPrimaryKeys(None, within, table), "COLUMN_NAME", "KEY_SEQ"))
        primary = tuple(str(name) for name, _ in sorted(keys, key=lambda row: int(row[1] or 0)))
        grouped: dict[str, tuple[bool, list[str]]] = {}
        if not view:
            found = about.getIndexInfo(None, within, table, False, True)
            rows = list(self._asked(found, "INDEX_NAME", "NON_UNIQUE", "COLUMN_NAME", "FILTER_CONDITION"))
            partial = {name for name, _, column, condition in rows if not column or condition}
            for name, loose, column, _ in rows:
                if name and name not in partial:
                    unique = str(loose).lower() in ("0", "f", "false")
                    grouped.setdefault(name, (unique, []))[1].append(str(column))
        indexes = [Index(tuple(names), unique, name) for name, (unique, names) in grouped.items()]
        return Table(
            schema, table, self.title(schema, table), view, columns=columns, primary=primary,
            indexes=[index for index in indexes if index.columns != primary],
        )  # fmt: skip


def _native(name: str, size: str | None, digits: str | None) -> str:
    """The type with its length or digits, which drivers tell apart from its name."""
    if "(" in name or not size:
        return name
    if name.lower() in _SIZED:
        return f"{name}({size})"
    return f"{name}({size},{digits or 0})" if name.lower() in _NUMBERS else name
