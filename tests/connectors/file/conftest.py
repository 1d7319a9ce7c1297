"""What tests of files work with: a source, a sink and short ways to read and write with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.file import connector
from tongqu.core.connector import Sink, Source
from tongqu.core.data import BadRow, Batch, Bytes, Checkpoint, Counts, Dataset, Read, Split, Write, WriteMode
from tongqu.core.select import Column, Select


class Desk:
    """Reads and writes files through the connector's public door."""

    @staticmethod
    def source(path: Path | str, options: str = "") -> Source:
        made = connector.source
        assert made is not None
        return made(connector.from_url(f"file:{path}{options}"))

    @staticmethod
    def sink(path: Path | str, options: str = "") -> Sink:
        made = connector.sink
        assert made is not None
        return made(connector.from_url(f"file:{path}{options}"))

    @staticmethod
    def batches(opened: Source, dataset: Dataset, **asked: Any) -> Iterator[Batch]:
        for split in opened.splits(dataset, 1):
            yield from opened.read(Read(dataset, split, **asked))

    @staticmethod
    def rows(path: Path | str, options: str = "") -> list[dict[str, Any]]:
        opened = Desk.source(path, options)
        (dataset,) = opened.datasets()
        return [row for batch in Desk.batches(opened, dataset) for row in batch.rows.to_pylist()]

    @staticmethod
    def bad(path: Path | str, options: str = "") -> list[BadRow]:
        opened = Desk.source(path, options)
        (dataset,) = opened.datasets()
        return [row for batch in Desk.batches(opened, dataset) for row in batch.bad]

    @staticmethod
    def types(path: Path | str, options: str = "") -> dict[str, str]:
        (dataset,) = Desk.source(path, options).datasets()
        return {field.name: str(field.type) for field in dataset.schema}

    @staticmethod
    def writing(table: pa.Table, mode: WriteMode = WriteMode.REPLACE, name: str = "orders", run: str = "r1") -> Write:
        return Write(stream=name, dataset=Dataset(name, table.schema), mode=mode, sync="s", run=run)

    @staticmethod
    def chunk(opened: Sink, write: Write, table: pa.Table, split: Split, at: int, *dirty: BadRow) -> None:
        session = opened.session(write, split)
        written = session.write(table)
        counts = Counts(read=table.num_rows, inserted=written.inserted)
        session.commit(Checkpoint(split, {"at": at}, counts, quarantine=dirty))
        session.close()

    @staticmethod
    def put(path: Path | str, table: pa.Table, options: str = "", **asked: Any) -> None:
        """Write a table in one run of two chunks."""
        asked.setdefault("run", Path(path).name)
        opened, write = Desk.sink(path, options), Desk.writing(table, **asked)
        opened.start(write.sync, write.run, False)
        opened.open(write)
        split = Split("0", "orders")
        opened.begin(write, [split])
        half = table.num_rows // 2
        Desk.chunk(opened, write, table.slice(0, half), split, 1)
        Desk.chunk(opened, write, table.slice(half), split, 2)
        assert opened.finish(write, Counts(read=table.num_rows), None).inserted == table.num_rows
        opened.end(write.sync, write.run, [write])
        opened.close()

    @staticmethod
    def passed(opened: Source, dataset: Dataset, form: str = "csv", **asked: Any) -> list[Bytes]:
        (split,) = opened.splits(dataset, 1)
        select = Select(tuple(Column(name) for name in dataset.columns))
        return list(opened.copy_out(Read(dataset, split, **asked), select, form))


@pytest.fixture
def desk() -> type[Desk]:
    return Desk
