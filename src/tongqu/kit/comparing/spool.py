"""Compares what cannot count itself: the rows are read once, and keys and digests kept in a DuckDB file meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.core.compare import DIGEST, Canon, Comparable, Comparison, Form, Key, Span, Sum, exact
from tongqu.core.connector import Source
from tongqu.core.data import Dataset, Read
from tongqu.core.errors import ReadError
from tongqu.kit.comparing.duck import DuckComparable
from tongqu.kit.drivers import driver

_ROWS, _SPOOL = "_tongqu_rows", "_tongqu_spool"
_STORED = {
    Form.INTEGER: "HUGEINT",
    Form.NUMBER: "DECIMAL(38,9)",
    Form.BOOLEAN: "BOOLEAN",
    Form.DATE: "DATE",
    Form.TIME: "TIME",
    Form.TIMESTAMP: "TIMESTAMP",
    Form.BINARY: "BLOB",
}


class Spooled(Comparable):
    """A dataset of any source. It is read on first use; `condition` is an expression of DuckDB.

    Unlike a database it shows what was read then. Raises ReadError if a row cannot be read, since a comparison that
    leaves rows out proves nothing.
    """

    live = False

    def __init__(self, source: Source, dataset: Dataset, comparison: Comparison, condition: str = ""):
        self._source, self._dataset, self._condition = source, dataset, condition
        self._comparison = comparison
        self._folder = tempfile.TemporaryDirectory(prefix="tongqu-diff-")
        self._duckdb = driver("duckdb", "duckdb").connect(str(Path(self._folder.name) / "spool.duckdb"))
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._stored: DuckComparable | None = None

    def nulls(self) -> int:
        """See Comparable.nulls."""
        return self._kept().nulls()

    def spread(self, parts: int) -> list[Key]:
        """See Comparable.spread."""
        return self._kept().spread(parts)

    def cuts(self, span: Span, rows: int) -> list[Key]:
        """See Comparable.cuts."""
        return self._kept().cuts(span, rows)

    def sums(self, spans: Sequence[Span]) -> list[Sum]:
        """See Comparable.sums."""
        return self._kept().sums(spans)

    def digests(self, spans: Sequence[Span]) -> pa.Table:
        """See Comparable.digests."""
        return self._kept().digests(spans)

    def digests_of(self, keys: pa.Table) -> pa.Table:
        """See Comparable.digests_of."""
        return self._kept().digests_of(keys)

    def some(self, rows: int) -> pa.Table:
        """See Comparable.some."""
        return self._kept().some(rows)

    def texts_of(self, keys: pa.Table) -> pa.Table:
        """See Comparable.texts_of: reads the source once more."""
        columns = tuple(dict.fromkeys(column.name for column in self._comparison.columns))
        names = [f"c{number}" for number in range(len(self._comparison.columns))]
        found = []
        for batch, key, at in self._matching(keys, columns):
            texts = [self._texts(batch, exact(column)).take(at) for column in self._comparison.columns]
            found.append(pa.table(dict(zip([*key.column_names, *names], [*key.columns, *texts], strict=True))))
        schema = pa.schema([(name, pa.string()) for name in [*self._key_names(), *names]])
        return pa.concat_tables([schema.empty_table(), *found])

    def rows(self, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        """See Comparable.rows: reads the source once more."""
        fields = [self._dataset.schema.field(name) for name in columns]
        schema = pa.schema([*(pa.field(name, pa.string()) for name in self._key_names()), *fields])
        found = [schema.empty_table()]
        for batch, key, at in self._matching(keys, columns):
            chosen = pa.Table.from_batches([batch]).take(at)
            arrays = [*key.columns, *(chosen.column(name) for name in columns)]
            found.append(pa.Table.from_arrays(arrays, schema=schema))
        return pa.concat_tables(found)

    def close(self) -> None:
        """See Comparable.close."""
        self._duckdb.close()
        self._folder.cleanup()

    # ---- inside

    def _batches(self, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        for split in self._source.splits(self._dataset, 1):
            for batch in self._source.read(Read(self._dataset, split, columns=columns)):
                if batch.bad:
                    raise ReadError(
                        f"a row cannot be read: {batch.bad[0].message}",
                        path=self._dataset.name,
                        hint="mend it first (tongqu sync quarantines such rows and shows them)",
                    )
                if batch.rows.num_rows:
                    yield batch.rows

    def _ask(self, sql: str, answer: Callable[[Any], Any]) -> Any:
        return answer(self._duckdb.sql(sql))

    def _kept(self) -> DuckComparable:
        if self._stored is None:
            self._stored = self._spool()
        return self._stored

    def _spool(self) -> DuckComparable:
        """Read the source into keys (in the types their forms are ordered by) and digests."""
        comparison = self._comparison
        kinds = [_stored(column) for column in comparison.key]
        names = [f"s{number}" for number in range(len(kinds))]
        listed = ", ".join([*(f"{n} {k}" for n, k in zip(names, kinds, strict=True)), f"{DIGEST} BIGINT"])
        self._duckdb.execute(f"CREATE TABLE {_SPOOL} ({listed})")
        used = {column.name for column in comparison.columns} | {column.name for column in comparison.key}
        needed = self._dataset.columns if self._condition else tuple(n for n in self._dataset.columns if n in used)
        for batch in self._batches(needed):
            self._duckdb.register(_ROWS, pa.Table.from_batches([batch]))
            reader = self._over_batch()
            keys = [
                f"CAST({reader.ordered(column)} AS {kind})" for column, kind in zip(comparison.key, kinds, strict=True)
            ]
            values = ", ".join([*keys, reader.digest(reader.row_text())])
            where = f" WHERE {self._condition}" if self._condition else ""
            self._duckdb.execute(f"INSERT INTO {_SPOOL} SELECT {values} FROM {_ROWS}{where}")
        key = tuple(Canon(name, c.form, c.scale) for name, c in zip(names, comparison.key, strict=True))
        return _Kept(
            Comparison(key, key), _SPOOL, ask=self._ask, types=dict(zip(names, kinds, strict=True)), selected={}
        )

    def _over_batch(self) -> DuckComparable:
        described = self._duckdb.execute(f"DESCRIBE {_ROWS}").fetchall()
        types = {name: kind for name, kind, *_ in described}
        return DuckComparable(self._comparison, _ROWS, ask=self._ask, types=types, selected={})

    def _key_names(self) -> list[str]:
        return [f"k{number}" for number in range(max(len(self._comparison.key), 1))]

    def _matching(
        self, keys: pa.Table, columns: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, pa.Table, pa.Array[Any]]]:
        """Batches of the source with these columns, the key texts of those rows that are wanted, and their places. The
        key of a bag's rows is their digest."""
        names = self._key_names()
        wanted = keys.select(names).combine_chunks()
        read = {*columns, *(column.name for column in self._comparison.key or self._comparison.columns)}
        needed = self._dataset.columns if self._condition else tuple(n for n in self._dataset.columns if n in read)
        for batch in self._batches(needed):
            texts = self._key_texts(batch)
            numbers = pa.array(range(batch.num_rows), pa.int64())
            keyed = pa.table([*texts, numbers], names=[*names, "at"])
            found = keyed.join(wanted, keys=names, join_type="left semi")
            if found.num_rows:
                yield batch, found.select(names), found.column("at").combine_chunks()

    def _key_texts(self, batch: pa.RecordBatch) -> list[Any]:
        if self._comparison.key:
            return [self._texts(batch, column) for column in self._comparison.key]
        self._duckdb.register(_ROWS, pa.Table.from_batches([batch]))
        sql = f"SELECT {self._over_batch().digest_text()} AS t FROM {_ROWS}"
        return [self._duckdb.sql(sql).to_arrow_table().column("t")]

    def _texts(self, batch: pa.RecordBatch, column: Canon) -> Any:
        self._duckdb.register(_ROWS, pa.Table.from_batches([batch]))
        sql = f"SELECT {self._over_batch().text(column)} AS t FROM {_ROWS}"
        return self._duckdb.sql(sql).to_arrow_table().column("t")


class _Kept(DuckComparable):
    """The spool: its rows have their digest already."""

    def digest(self, sql: str) -> str:
        """See SqlComparable.digest."""
        del sql
        return DIGEST


def _stored(column: Canon) -> str:
    return f"DECIMAL(38,{column.scale})" if column.form is Form.DECIMAL else _STORED.get(column.form, "VARCHAR")
