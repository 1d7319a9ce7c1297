"""What an ODBC driver itself tells about tables, for servers whose catalogue nobody knows how to ask."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from tongqu.core.data import Index
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.shape import Column, Table

_SIZED = ("char", "varchar", "nchar", "nvarchar", "varchar2", "character", "character varying", "binary", "varbinary",
          "graphic", "vargraphic")  # fmt: skip
_NUMBERS = ("decimal", "numeric", "number", "dec")


class OdbcCatalogue(Catalogue):
    """Describes tables by SQLTables, SQLColumns, SQLPrimaryKeys and SQLStatistics."""

    def names(self, schema: str) -> list[tuple[str, bool]]:
        """See Catalogue.names."""
        with closing(self.db.connection.cursor()) as cursor:
            rows = self._asked(cursor, "tables", schema=schema or None)
        found = {
            (str(row.table_name), "VIEW" in str(row.table_type).upper())
            for row in rows
            if str(row.table_type).upper() in ("TABLE", "VIEW") and (row.table_schem or "") in (schema, schema or "")
        }
        return sorted(found)

    def _asked(self, cursor: Any, what: str, *names: str, **more: Any) -> list[Any]:
        try:
            return list(getattr(cursor, what)(*names, **more).fetchall())
        except self.db.failures as error:
            raise self.db.meaning(error) from None

    def describe(self, schema: str, table: str, *, view: bool) -> Table:
        """See Catalogue.describe."""
        where = {"schema": schema or None}
        with closing(self.db.connection.cursor()) as cursor:
            columns = [
                Column(
                    str(row.column_name), _native(row), bool(row.nullable),
                    None if row.column_def is None else str(row.column_def), comment=str(row.remarks or ""),
                )
                for row in self._asked(cursor, "columns", table=table, **where)
                if row.table_name == table
            ]  # fmt: skip
            keys = [] if view else self._asked(cursor, "primaryKeys", table, **where)
            found = [] if view else self._asked(cursor, "statistics", table, **where)
        primary = tuple(str(row.column_name) for row in sorted(keys, key=lambda row: row.key_seq))
        grouped: dict[str, tuple[bool, list[str]]] = {}
        partial = {row.index_name for row in found if not row.column_name or row.filter_condition}
        whole = [row for row in found if row.index_name not in partial]
        for row in sorted(whole, key=lambda row: row.ordinal_position):
            grouped.setdefault(str(row.index_name), (not row.non_unique, []))[1].append(str(row.column_name))
        indexes = [Index(tuple(names), unique, name) for name, (unique, names) in grouped.items()]
        return Table(
            schema, table, self.title(schema, table), view, columns=columns, primary=primary,
            indexes=[index for index in indexes if index.columns != primary],
        )  # fmt: skip


def _native(row: Any) -> str:
    """The type with its length or digits, which drivers tell apart from its name."""
    name = str(row.type_name)
    if "(" in name:
        return name
    if name.lower() in _SIZED and row.column_size:
        return f"{name}({row.column_size})"
    if name.lower() in _NUMBERS and row.column_size:
        return f"{name}({row.column_size},{row.decimal_digits or 0})"
    return name
