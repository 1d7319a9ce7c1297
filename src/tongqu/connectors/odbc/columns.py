"""Reads through an ODBC driver into the columns it fills itself, where no value can be longer than its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa

from tongqu.kit.drivers import driver
from tongqu.kit.tables.dialect import Dialect

_LONGEST = 2000
"""Bytes of the longest text or value of bytes that is read so: each row of a batch has room for it."""
_PLAIN = 160
"""Characters that numbers and moments have at most, which come as texts."""
_ROWS, _BYTES = 4096, 32 << 20
_SAID = re.compile(r"State: (\w*), Native error: -?\d+, Message: (.*)", re.DOTALL)


def failures() -> tuple[type[BaseException], ...]:
    """What `OdbcColumns` raises."""
    return (driver("arrow_odbc", "odbc").Error,)


def told(error: BaseException) -> tuple[str, str]:
    """SQLSTATE and text of what it raised."""
    text = str(error)
    found = _SAID.search(text)
    return (found[1], found[2].strip()) if found else ("", text)


class OdbcColumns:
    """A second connection of a reader, whose transaction sees the instant that the first one has named."""

    def __init__(self, words: str, seconds: int, dialect: Dialect, instant: str):
        self._odbc = driver("arrow_odbc", "odbc")
        self._dialect = dialect
        self._connection = self._odbc.connect(words, login_timeout_sec=seconds, autocommit=False)
        for statement in dialect.session(reading=True):
            try:
                self._connection.execute(statement)
                self._connection.commit()
            except failures():
                self._connection.rollback()
        for statement in (*dialect.snapshot, dialect.sharing[1].format(dialect.literal(instant))):
            self._connection.execute(statement)

    def fits(self, sql: str, schema: pa.Schema) -> int:
        """The characters that the longest value of the query's rows needs, as they are at this instant; 0 if one is
        too long."""
        places = [at for at, field in enumerate(schema) if _free(field.type)]
        if not places:
            return _PLAIN
        query = self._dialect.lengths(sql, len(schema), places)
        (lengths,) = [batch.to_pylist()[0] for batch in self._batches(query, _PLAIN, 1)]
        longest = max((int(one) for one in lengths.values() if one is not None), default=0)
        return max(longest, _PLAIN) if longest <= _LONGEST else 0

    def batches(self, sql: str, width: int, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query whose values `fits` has found to need so many characters."""
        yield from self._batches(sql, width, min(size, _ROWS))

    def _batches(self, sql: str, width: int, rows: int) -> Iterator[pa.RecordBatch]:
        yield from self._connection.read_arrow_batches(
            sql, batch_size=rows, max_bytes_per_batch=_BYTES, max_text_size=width, max_binary_size=width,
            payload_text_encoding=self._odbc.TextEncoding.UTF16,
        )  # fmt: skip

    def close(self) -> None:
        """End the transaction and the connection."""
        with suppress(*failures()):
            self._connection.rollback()
        del self._connection


def _free(kind: pa.DataType) -> bool:
    """Whether values of a type have any length."""
    t = pa.types
    return t.is_string(kind) or t.is_binary(kind)
