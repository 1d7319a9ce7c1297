"""What any SQL system can be asked: enough to read one that nobody knows."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native, decimal

_INTS = {"tinyint": 16, "smallint": 16, "int2": 16, "mediumint": 32, "int": 32, "integer": 32, "int4": 32,
         "bigint": 64, "int8": 64, "long": 64}  # fmt: skip
_TEXTS = ("char", "varchar", "nchar", "nvarchar", "text", "ntext", "longtext", "clob", "nclob", "character",
          "character varying", "string", "long varchar", "longvarchar", "wvarchar", "wchar", "bpchar")  # fmt: skip
_BYTES = ("binary", "varbinary", "blob", "bytea", "longvarbinary", "long varbinary", "image")


class Ansi(Dialect):
    """The standard's words, read only: how transactions, locks and merges behave is not known."""

    name = "ansi"
    system = "sql"
    sqlglot = ""
    writes: ClassVar[bool] = False

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind. A type that nobody knows is read as the text its driver makes of it."""
        name = native.name
        if name in _INTS:
            return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[_INTS[name]], ""
        if name in ("decimal", "numeric", "number", "dec"):
            return decimal(*native.arguments[:2]) if len(native.arguments) > 1 else (pa.string(), "decimal")
        if name in _BYTES:
            return pa.binary(), ""
        simple: dict[str, pa.DataType] = {
            "boolean": pa.bool_(), "bool": pa.bool_(), "bit": pa.bool_(), "real": pa.float32(),
            "float": pa.float64(), "double": pa.float64(), "double precision": pa.float64(), "date": pa.date32(),
            "timestamp": pa.timestamp("us"), "datetime": pa.timestamp("us"),
        }  # fmt: skip
        if name in simple:
            return simple[name], ""
        return pa.string(), "" if name in _TEXTS else "text"

    def made(self, kind: str) -> str:
        """See Dialect.made."""
        return kind

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text."""
        del key
        return f"varchar({length or 4000})"


dialect = Ansi()
