"""Changes of one stream that wait for the end of their transaction: in memory, and beyond a bound on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tongqu.core.log import OP

TRUNCATE = "truncate"
_MEMORY = 64 << 20
_AGAIN = "r"
_SLICE = 131_072


class Pieces:
    """Batches and barriers in the order of the log. One schema until it is emptied."""

    def __init__(self, folder: str | None = None):
        self._folder = folder
        self._items: list[pa.RecordBatch | str | Path] = []
        self._bytes = 0
        self._files: list[Path] = []
        self.rows = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, rows: pa.RecordBatch) -> None:
        """A batch of changes."""
        if rows.num_rows == 0:
            return
        self.rows += rows.num_rows
        self._items.append(rows)
        self._bytes += rows.nbytes
        if self._bytes > _MEMORY:
            self._spill()

    def barrier(self) -> None:
        """The table was emptied here."""
        self._items.append(TRUNCATE)

    def _spill(self) -> None:
        """Write what waits in memory into files, one for all batches of a schema that follow each other."""
        kept: list[pa.RecordBatch | str | Path] = []
        run: list[pa.RecordBatch] = []
        for item in [*self._items, TRUNCATE]:
            if isinstance(item, pa.RecordBatch) and (not run or item.schema.equals(run[0].schema)):
                run.append(item)
                continue
            if run:
                kept.append(self._written(run))
                run = [item] if isinstance(item, pa.RecordBatch) else []
            if not isinstance(item, pa.RecordBatch):
                kept.append(item)
        self._items, self._bytes = kept[:-1], 0

    def _written(self, batches: list[pa.RecordBatch]) -> Path:
        with tempfile.NamedTemporaryFile(prefix="tongqu-log-", dir=self._folder, delete=False) as file:
            path = Path(file.name)
        self._files.append(path)
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return path

    def tables(self) -> Iterator[pa.Table | None]:
        """The rows in order, as tables of bounded size; None where the table was emptied."""
        run: list[pa.RecordBatch] = []
        for item in self._read():
            fits = isinstance(item, pa.RecordBatch) and (not run or item.schema.equals(run[0].schema))
            if run and (not fits or sum(batch.num_rows for batch in run) >= _SLICE):
                yield pa.Table.from_batches(run)
                run = []
            if isinstance(item, pa.RecordBatch):
                run.append(item)
            else:
                yield None
        if run:
            yield pa.Table.from_batches(run)

    def _read(self) -> Iterator[pa.RecordBatch | str]:
        for item in self._items:
            if isinstance(item, Path):
                with pa.OSFile(str(item), "rb") as file, pa.ipc.open_stream(file) as reader:
                    yield from reader
            else:
                yield item

    def overtaken(self) -> None:
        """Forget the changes, which are known; rows that were read again are of now, and stay."""
        kept = [item for item in self._read() if isinstance(item, pa.RecordBatch) and _read_again(item)]
        self.clear()
        for item in kept:
            self.add(item)

    def clear(self) -> None:
        """Forget everything; files are deleted."""
        for path in self._files:
            path.unlink(missing_ok=True)
        self._items, self._files, self._bytes, self.rows = [], [], 0, 0


def _read_again(rows: pa.RecordBatch) -> bool:
    """Whether these are rows that were read again, which come in batches of their own."""
    return OP in rows.schema.names and set(rows.column(OP).unique().to_pylist()) == {_AGAIN}
