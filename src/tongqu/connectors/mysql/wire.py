"""SQL that makes MariaDB or MySQL write its rows as lines of PostgreSQL's COPY text format.

One CONCAT per row over bytes: the server escapes, the client only joins lines. Escapes: PostgreSQL documentation of
COPY, "Text Format". Zero dates and TIMEs beyond a day are written as they are, so PostgreSQL refuses them and the
chunk is read again as columns, where the rows are found.
"""

from __future__ import annotations

from collections.abc import Sequence

from tongqu.connectors.mysql.db import quoted
from tongqu.connectors.mysql.types import Native, is_bytes

_ESCAPES = (("5C", "5C5C"), ("09", "5C74"), ("0A", "5C6E"), ("0D", "5C72"))
_SAFE_CHARSETS = ("utf8mb4", "utf8mb3", "utf8", "ascii")
_NUMERIC = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "year", "decimal", "double", "date", "time",
                      "datetime"})  # fmt: skip


def cell(name: str, native: Native, charset: str | None) -> str:
    """A column's COPY text as a byte string."""
    column = quoted(name)
    if native.name == "float":
        return f"CAST(CAST({column} AS DOUBLE) AS BINARY)"
    if native.name == "bit":
        whole = f"CAST({column}+0 AS BINARY)"
        return truth(column) if (native.arguments or (1,))[0] == 1 else whole
    if native.name == "timestamp":
        return f"CONCAT(CAST({column} AS BINARY), X'2B3030')"
    if native.name in ("uuid", "inet4", "inet6"):
        return f"CAST(CAST({column} AS CHAR) AS BINARY)"
    if native.name in _NUMERIC:
        return f"CAST({column} AS BINARY)"
    if is_bytes(native):
        return f"CONCAT(X'5C5C78', CAST(HEX({column}) AS BINARY))"
    return text(column if charset in _SAFE_CHARSETS else f"CONVERT({column} USING utf8mb4)")


def truth(sql: str) -> str:
    """A boolean expression as `t` or `f`."""
    return f"IF({sql} IS NULL, NULL, IF({sql}, X'74', X'66'))"


def text(sql: str) -> str:
    """Any text expression, escaped."""
    done = f"CAST({sql} AS BINARY)"
    for raw, escaped in _ESCAPES:
        done = f"REPLACE({done}, X'{raw}', X'{escaped}')"
    return done


def line(cells: Sequence[tuple[str, bool]]) -> str:
    """One row's line from cells and whether each can be null."""
    shown = [f"IFNULL({sql}, X'5C4E')" if nullable else sql for sql, nullable in cells]
    return "CONCAT(" + ", X'09', ".join(shown) + ", X'0A')"
