"""A place that a connector can fill and read: what every check of the kit works on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.core.connector import Can, Connector, Sink, Source
from tongqu.core.data import Batch, Counts, Dataset, Deletes, Mode, Position, Read, Split, Write, WriteMode
from tongqu.core.settings import Endpoint
from tongqu.testing.pour import pour

_FILLS = count(1)
ONE_RUN = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Place:
    """An empty database, folder or the like, which `url` names for both ends of the connector."""

    connector: Connector
    url: str
    home: Path | None = None
    """The folder that both ends are told to lodge in."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Settings beside those of the URL."""

    @property
    def settings(self) -> Endpoint:
        """The connector's settings for this place."""
        made = self.connector.from_url(self.url)
        assert isinstance(made, Endpoint), f"{self.connector.name}: from_url gives no Endpoint"
        return type(made).parse(made.model_dump() | {**self.more}) if self.more else made

    @contextmanager
    def source(self, settings: Any = None) -> Iterator[Source]:
        """A source, closed at the end."""
        assert self.connector.source is not None
        made = self.connector.source(settings or self.settings)
        if self.home is not None:
            made.lodge(self.home)
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def sink(self, settings: Any = None) -> Iterator[Sink]:
        """A sink, closed at the end."""
        assert self.connector.sink is not None
        made = self.connector.sink(settings or self.settings)
        if self.home is not None:
            made.lodge(self.home)
        try:
            yield made
        finally:
            made.close()

    # ---- writing

    def ask(
        self,
        rows: pa.Table,
        mode: WriteMode,
        *,
        name: str = "items",
        run: str = "run 1",
        key: Sequence[str] = ("id",),
        at: str = ONE_RUN,
        **more: Any,
    ) -> Write:
        """The record that asks for writing rows of that shape."""
        dataset = Dataset(name, rows.schema, key=tuple(key))
        return Write(name, dataset, mode, f"sync {name}", run, key=tuple(key), started_at=at, **more)

    def put(self, chunks: Iterable[pa.Table], write: Write) -> Counts:
        """One whole run with a fresh sink; returns the stream's counts."""
        with self.sink() as sink:
            return pour(sink, write, chunks)

    def fill(self, rows: pa.Table, *, name: str = "items", key: Sequence[str] = ("id",)) -> Counts:
        """Make a dataset with these rows."""
        return self.put([rows], self.ask(rows, self.whole, name=name, key=key, run=f"fill {next(_FILLS)}"))

    @property
    def whole(self) -> WriteMode:
        """How all rows of a dataset are written: logs that replace nothing are appended to."""
        return WriteMode.REPLACE if Can.REPLACE in self.connector.can else WriteMode.APPEND

    def change(self, rows: pa.Table, *, run: str, deletes: Deletes | None = None, **more: Any) -> Counts:
        """One upsert: of changes, or with `deletes` of a whole generation."""
        mode = more.pop("mode", WriteMode.UPSERT)
        whole = {"deletes": deletes} if deletes is not None else {"incremental": True}
        return self.put([rows], self.ask(rows, mode, run=run, **whole, **more))

    # ---- reading

    def dataset(self, source: Source, name: str = "items") -> Dataset:
        """The discovered dataset."""
        (found,) = source.datasets([name])
        return found

    def table(self, name: str = "items") -> pa.Table:
        """All rows of a dataset."""
        with self.source() as source:
            dataset = self.dataset(source, name)
            parts = [list(full(source, dataset, split)) for split in source.splits(dataset, 1)]
            batches = [batch for part in parts for batch in part]
            assert not [bad for batch in batches for bad in batch.bad]
            return pa.Table.from_batches([batch.rows for batch in batches], schema=dataset.schema)

    def rows(self, name: str = "items", columns: Sequence[str] = ("id", "v")) -> list[tuple[Any, ...]]:
        """The rows' values, sorted; none if there is no such dataset."""
        with self.source() as source:
            if name not in exists(source):
                return []
        found = self.table(name).select(list(columns)).to_pylist()
        return sorted((tuple(row[column] for column in columns) for row in found), key=repr)

    def quarantined(self) -> list[dict[str, Any]]:
        """The rows kept in quarantine."""
        with self.sink() as sink:
            return sink.quarantined()


def exists(source: Source) -> list[str]:
    """The names of the datasets that are there."""
    from tongqu.core.errors import NotFoundError

    try:
        return [dataset.name for dataset in source.datasets(None)]
    except NotFoundError:
        return []


def full(source: Source, dataset: Dataset, split: Split, after: Position | None = None, **more: Any) -> Iterator[Batch]:
    """A full read of one split in small chunks."""
    asked = Read(dataset, split, after=after, mode=Mode.FULL, batch_rows=5, chunk_rows=7)
    return source.read(replace(asked, **more))


def items(ids: Iterable[int], text: str = "v{}") -> pa.Table:
    """Rows `(id, v)` with the text made from the id."""
    numbers = list(ids)
    fields: list[pa.Field[Any]] = [pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string())]
    schema = pa.schema(fields)
    return pa.table([pa.array(numbers, pa.int64()), pa.array([text.format(n) for n in numbers])], schema=schema)


def pairs(ids: Iterable[int], text: str = "v{}") -> list[tuple[Any, ...]]:
    """What `Place.rows` gives for `items`."""
    return sorted(((n, text.format(n)) for n in ids), key=repr)
