"""The words of DM 达梦 8, which are near to Oracle's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from tongqu.kit.tables.dialects.oracle import Oracle
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.queried import Words


class Dm(Oracle):
    """DM in its own mode (COMPATIBLE_MODE 0): an empty text is a text, times of day have a type, statements may say IF
    EXISTS."""

    name = "dm"
    system = "dm"
    empty: ClassVar[str] = ""
    words: ClassVar[Words | None] = None
    snapshot: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[int] = 900
    ledger_types: ClassVar[dict[str, str]] = {"id": "VARCHAR(255 CHAR)", "text": "CLOB", "long": "BIGINT"}

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind."""
        own: dict[str, pa.DataType] = {
            "bit": pa.bool_(), "tinyint": pa.int8(), "byte": pa.int8(), "smallint": pa.int16(), "int": pa.int32(),
            "integer": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "double precision": pa.float64(),
            "real": pa.float32(), "float": pa.float64(), "date": pa.date32(), "time": pa.time64("us"),
            "datetime": pa.timestamp("us"), "text": pa.string(), "longvarchar": pa.string(),
            "character": pa.string(), "binary": pa.binary(), "varbinary": pa.binary(), "image": pa.binary(),
            "longvarbinary": pa.binary(),
        }  # fmt: skip
        if native.name in own:
            return own[native.name], ""
        return super().kind(native)

    def made(self, kind: str) -> str:
        """See Dialect.made."""
        names = {"bool": "BIT", "int8": "SMALLINT", "uint8": "SMALLINT", "int16": "SMALLINT", "uint16": "INT",
                 "int32": "INT", "uint32": "BIGINT", "int64": "BIGINT", "float32": "REAL", "float64": "DOUBLE",
                 "time": "TIME(6)", "key binary": "VARBINARY(2000)"}  # fmt: skip
        return names.get(kind) or super().made(kind)

    def indexable(self, native: str) -> bool:
        """See Dialect.indexable."""
        return super().indexable(native) and Native.parse(native).name not in ("text", "image", "longvarchar")

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable."""
        if native.name == "time":
            return f"TO_CHAR({expression}, 'HH24:MI:SS.FF6')"
        return expression if native.name == "float" else super().readable(expression, native)

    def hole(self, native: Native) -> str:
        """See Dialect.hole."""
        if native.name in ("date", "time"):
            return f"CAST(? AS {native.name})"
        return "?" if native.name == "float" else super().hole(native)

    def orders(self, native: Native) -> bool:
        """See Dialect.orders."""
        return super().orders(native) or native.name in ("tinyint", "smallint", "int", "integer", "bigint")

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        return f"TO_CHAR({expression}, 'YYYY-MM-DD')" if native.name == "date" else super().bound(expression, native)

    def bound_literal(self, text: str, native: Native) -> str:
        """See Dialect.bound_literal."""
        if native.name in ("tinyint", "smallint", "int", "integer", "bigint"):
            return text
        return f"DATE {self.literal(text)}" if native.name == "date" else super().bound_literal(text, native)

    def create_missing(self, table: str, columns: str) -> str:
        """See Dialect.create_missing."""
        return f"CREATE TABLE IF NOT EXISTS {table} ({columns})"

    def prepare_chunk(self, chunk: str, query: str) -> list[str]:
        """See Dialect.prepare_chunk."""
        create = f"CREATE GLOBAL TEMPORARY TABLE {chunk} ON COMMIT DELETE ROWS AS {query} WHERE 1 = 0"
        return [f"DROP TABLE IF EXISTS {chunk}", create]

    def drop(self, table: str) -> list[str]:
        """See Dialect.drop."""
        return [f"DROP TABLE IF EXISTS {table}"]

    def session(self, *, reading: bool) -> Sequence[str]:
        """See Dialect.session."""
        del reading
        return ["SET TIME ZONE '+00:00'"]


dialect = Dm()
