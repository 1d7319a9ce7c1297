"""Loads rows of Parquet files by DuckDB's own reader: they never become Python's or Arrow's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu.connectors.duckdb.db import DuckDb, literal, quoted
from tongqu.core.data import Bytes, Split, Written
from tongqu.core.errors import CastError, RefusedRowsError, TongquError
from tongqu.kit.drivers import driver
from tongqu.kit.sql.landing import Landing
from tongqu.kit.sql.session import SqlSession

if TYPE_CHECKING:
    from tongqu.connectors.duckdb.sink import DuckdbSink

FORMAT = "parquet-path"
"""The raw format whose only block is a path, with `options` `first` and `stop`, numbers of rows in the file, and
`files`, all paths that will come."""
_HINT = "the rows are read and looked at here instead"


class ParquetSession(SqlSession):
    """A session that lets DuckDB read the files it is given."""

    def __init__(self, sink: DuckdbSink, landing: Landing, split: Split):
        super().__init__(sink, landing, split)
        self._duckdb = sink

    def copy_in(self, data: Bytes) -> Written:
        """See Session.copy_in. Raises RefusedRowsError if another connection keeps the database from being opened
        anew, which is how it learns of files."""
        self._duckdb.admit(data.options["files"])
        return super().copy_in(data)


def load(db: DuckDb, into: str, data: Bytes, types: Mapping[str, str], key: Sequence[str]) -> int:
    """Insert rows of a file into a table; gives their number. `types` are the table's columns with their types, `key`
    are columns that must not be null.

    Many rows are stored in no order (`DuckDb.inserting`). Raises RefusedRowsError if DuckDB reads a column as another
    type than the table's, refuses a row or cannot read the file.
    """
    file = Path(os.fsdecode(b"".join(bytes(block) for block in data.chunks)))
    names = ", ".join(quoted(name) for name in data.columns)
    with _refusing(file):
        rows = f"read_parquet({literal(str(file))}, file_row_number = true, hive_partitioning = false)"
        where = f"file_row_number >= {int(data.options['first'])} AND file_row_number < {int(data.options['stop'])}"
        for name, kind, *_ in db.rows(f"DESCRIBE SELECT {names} FROM {rows}"):
            if kind != types[name]:
                raise RefusedRowsError(f"DuckDB reads {name} of {file} as {kind}", hint=_HINT)
        if key:
            missing = " OR ".join(f"{quoted(name)} IS NULL" for name in key)
            if db.rows(f"SELECT 1 FROM {rows} WHERE {where} AND ({missing}) LIMIT 1"):
                raise RefusedRowsError(f"{file} has rows without a key ({', '.join(key)})", hint=_HINT)
        with db.inserting(int(data.options["stop"]) - int(data.options["first"])):
            return db.run(f"INSERT INTO {into} ({names}) SELECT {names} FROM {rows} WHERE {where}")


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """What lies in the file is refused, so that the reader of the other lane names the place; the rest is raised."""
    duckdb = driver("duckdb", "duckdb")
    try:
        yield
    except TongquError as error:
        cause = error.__cause__
        unreadable = isinstance(cause, duckdb.InvalidInputException | duckdb.NotImplementedException)
        nameless = type(cause) is duckdb.Error  # what the Parquet library itself says has no other class
        if isinstance(error, CastError) or unreadable or nameless or str(file) in error.message:
            raise RefusedRowsError(error.message, hint=_HINT) from error
        raise
