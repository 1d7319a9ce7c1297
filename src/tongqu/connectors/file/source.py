"""Reads datasets from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from tongqu.connectors.file.choices import chosen
from tongqu.connectors.file.finding import find
from tongqu.connectors.file.layout import Layout, Part, look
from tongqu.connectors.file.passing import passing, pieces
from tongqu.connectors.file.scanning import scannable, scanned
from tongqu.connectors.file.settings import FileSettings
from tongqu.core.connector import Select, Source
from tongqu.core.data import Batch, Bytes, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.core.scan import Scan
from tongqu.kit import files
from tongqu.kit.formats.columnar import ParquetFile, fitted
from tongqu.kit.formats.types import convert
from tongqu.kit.patterns import wanted

_NOTHING = pa.RecordBatch.from_pylist([])
_PARQUET_SPLIT = 64 << 20
"""Row groups are read as splits of their own when they hold more bytes than this together."""


class FileSource(Source):
    """Datasets of a file, glob or folder. A full read can be cut after any batch; there is no incremental read.

    A changed file stops a resumed run (LostPositionError). Rows that cannot be read come as `Batch.bad`.
    """

    def __init__(self, settings: FileSettings):
        self._settings = chosen(settings)
        self._layouts: dict[str, Layout] = {}
        self._found: dict[str, list[files.Found]] = {}
        self._lock = Lock()

    def check(self) -> Iterator[str]:
        """`path`, then each file with what was detected about it."""
        found = find(self._settings)
        yield "path"
        for name in found:
            for part in self._layout(name).parts:
                yield part.describe()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """The datasets with their inferred schemas; inference reads the files (see `layout.SCAN`)."""
        self._found = found = find(self._settings)
        names = [name for name in found if wanted(name, patterns)]
        layouts = [self._layout(name, fresh=True) for name in names]
        forms = {passing(part, one.schema) for one in layouts for part in one.parts}
        self.formats = tuple(form for form in forms if form) if len(forms) == 1 else ()
        return [Dataset(one.name, one.schema, key=one.key, rows=one.rows) for one in layouts]

    def _layout(self, name: str, fresh: bool = False) -> Layout:
        with self._lock:
            if fresh or name not in self._layouts:
                found = self._found = self._found or find(self._settings)
                if name not in found:
                    raise NotFoundError(
                        f"no dataset {name!r} in {self._settings.path}",
                        path=self._settings.identity(),
                        hint=f"there are: {', '.join(list(found)[:20])}",
                    )
                self._layouts[name] = look(name, found[name], self._settings.of(name))
            return self._layouts[name]

    def scan(self, dataset: Dataset) -> AbstractContextManager[Scan] | None:
        """See Source.scan: plain Parquet."""
        layout = self._layout(dataset.name)
        return scanned(layout) if scannable(layout) else None

    def can_resume(self, dataset: Dataset) -> bool:
        """Always: positions are places in the files."""
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One split a file, neighbours together if there are more files than wanted; large Parquet files by row
        groups if there are fewer."""
        parts = list(self._layout(dataset.name).parts)
        if len(parts) < wanted:
            parts = [piece for part in parts for piece in _by_groups(part, max(wanted // len(parts), 1))]
        count = max(min(wanted, len(parts)), 1)
        bounds = [len(parts) * i // count for i in range(count + 1)]
        groups = [parts[a:b] for a, b in pairwise(bounds)]
        return [Split(_split_id(group), dataset.name, {"parts": [p.to_json() for p in group]}) for group in groups]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """Files have no cursor: raises InvalidPlanError."""
        raise InvalidPlanError(
            f"files cannot be read incrementally ({dataset.name} by {cursor})",
            hint="use mode full, write append or replace",
        )

    def _parts(self, read: Read) -> list[Part]:
        if read.mode is not Mode.FULL:
            raise InvalidPlanError(f"files have no mode {read.mode.value}", hint="valid modes: full")
        spec = read.split.spec.get("parts")
        return [Part.from_json(one) for one in spec] if spec else list(self._layout(read.dataset.name).parts)

    def read(self, read: Read) -> Iterator[Batch]:
        """Batches of the split's files in order; the position is (part, place in it)."""
        schema = read.dataset.schema
        asked = schema if read.columns is None else pa.schema([schema.field(name) for name in read.columns])
        after, until = dict(read.after or {}), dict(read.until or {})
        ended, _ = after.pop("end", False), until.pop("end", None)
        last: int | None = -1 if ended else until.pop("part", None)
        position: Position = dict(read.after or {})
        for number, part in enumerate(self._parts(read)):
            if number < after.get("part", 0) or (last is not None and number > last):
                continue
            start = {k: v for k, v in after.items() if k != "part"} if number == after.get("part") else None
            end = until if number == last else None
            own = pa.schema([f for f in asked if f.name in part.columns])
            with files.translated(Path(part.path)):
                for piece in part.reader(schema).read(own, start or None, end, read.batch_rows):
                    if read.stop.is_set():
                        return
                    position = {"part": number, **piece.position}
                    if piece.rows.num_rows or piece.bad:
                        yield Batch(read.dataset.name, _completed(piece.rows, asked, part), position, bad=piece.bad)
        if read.until is None or position != read.until:
            yield Batch(read.dataset.name, fitted(_NOTHING, asked), read.until or {**position, "end": True})

    def wire_types(self, dataset: Dataset, select: Select) -> list[str]:
        """Arrow's names of the columns' types: in a CSV file they are inferred and the bytes are text."""
        return [str(dataset.schema.field(column.name).type) for column in select.columns]

    def copy_out(self, read: Read, select: Select, format: str) -> Iterator[Bytes]:
        """The rows as they stand in the files; `types` are Arrow's names.

        `csv`: without the header, cut at record ends into chunks of about `chunk_rows` rows (at most 32 MiB); a chunk
        that CSV readers may understand differently raises RefusedRowsError when its bytes are asked for.
        `parquet-path`: ranges of about `chunk_rows` rows, see `kit.formats.parquet_chunks`.
        Raises InvalidPlanError if the files cannot pass so, LostPositionError if one has changed.
        """
        schema = read.dataset.schema
        parts = self._parts(read)
        plain = [c.name for c in select.columns] == schema.names and not any(c.sql for c in select.columns)
        if select.where or not plain or any(passing(part, schema) != format for part in parts):
            raise InvalidPlanError(f"{read.dataset.name}: cannot be passed as raw {format}", hint="use lane columnar")
        for piece in pieces(parts, schema, read.after or {}, read.chunk_rows):
            if read.stop.is_set():
                return
            yield piece


def _completed(rows: pa.RecordBatch, wanted: pa.Schema, part: Part) -> pa.RecordBatch:
    """The rows with the columns the file lacks: its folders' values, else null."""
    if rows.schema.names == wanted.names:
        return rows
    columns: list[Any] = []
    for field in wanted:
        if field.name in part.columns:
            columns.append(rows.column(field.name))
        else:
            value = pa.array([part.partitions.get(field.name)], pa.string())
            columns.append(pa.repeat(convert(value, field.type)[0][0], rows.num_rows))
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _by_groups(part: Part, wanted: int) -> list[Part]:
    if part.format != "parquet" or part.identity["size"] < _PARQUET_SPLIT or wanted < 2:
        return [part]
    count = len(ParquetFile(Path(part.path)).sizes())
    wanted = min(wanted, count)
    bounds = [count * i // wanted for i in range(wanted + 1)]
    return [replace(part, groups=(a, b)) for a, b in pairwise(bounds)]


def _split_id(parts: Sequence[Part]) -> str:
    first = parts[0]
    groups = f"#{first.groups[0]}-{first.groups[1]}" if first.groups else ""
    more = f"+{len(parts) - 1}" if len(parts) > 1 else ""
    return f"{first.label}{groups}{more}"
