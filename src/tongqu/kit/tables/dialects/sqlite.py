"""SQLite's words for a driver that is not its own: read only, since a file has one writer."""

from __future__ import annotations

from typing import ClassVar

from tongqu.kit.tables.dialects.ansi import Ansi
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.queried import Words

_WORDS = Words(
    schema="SELECT 'main'",
    names=(
        "SELECT name, CASE type WHEN 'view' THEN 1 ELSE 0 END FROM sqlite_master WHERE ? = 'main' "
        "AND type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'{one} ORDER BY name"
    ),
    one=" AND name = ?",
    columns=(
        'SELECT name, type, CASE WHEN "notnull" = 0 AND pk = 0 THEN 1 ELSE 0 END, dflt_value, '
        "CASE hidden WHEN 2 THEN 'virtual' WHEN 3 THEN 'stored' END, 0, NULL FROM pragma_table_xinfo, "
        "(SELECT ? AS base, ? AS wanted) WHERE arg = wanted AND hidden <> 1 ORDER BY cid"
    ),
    primary=(
        "SELECT name FROM pragma_table_xinfo, (SELECT ? AS base, ? AS wanted) WHERE arg = wanted AND pk > 0 ORDER BY pk"
    ),
    indexes="SELECT '', 0, '' FROM (SELECT ? AS base, ? AS wanted) WHERE 1 = 0",
    foreign="SELECT '', '', '', '', '' FROM (SELECT ? AS base, ? AS wanted) WHERE 1 = 0",
    about="",
)


class Sqlite(Ansi):
    """SQLite, read through ODBC or JDBC; the connector `sqlite` also writes."""

    name = "sqlite"
    system = "sqlite"
    sqlglot = "sqlite"
    words: ClassVar[Words | None] = _WORDS

    def place(self, schema: str, table: str) -> str:
        """See Dialect.place."""
        del schema
        return self.quote(table)

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable. Its drivers take a declared type for the value's: numbers and moments come as text."""
        name = native.name
        if name in ("decimal", "numeric", "date", "datetime", "timestamp") or name not in ("integer", "int", "bigint"):
            return expression if name in ("blob", "real", "double", "float", "text") else f"CAST({expression} AS text)"
        return expression

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        return f"CAST({expression} AS text)"

    def page(self, sql: str, rows: int, skip: int = 0) -> str:
        """See Dialect.page."""
        return f"{sql} LIMIT {rows} OFFSET {skip}"


dialect = Sqlite()
