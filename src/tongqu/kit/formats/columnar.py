"""Parquet and Arrow IPC: rows by row groups and record batches, exact positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Position
from tongqu.core.errors import CastError, ReadError
from tongqu.kit.columns import columns_of
from tongqu.kit.formats.piece import Piece

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_AGAIN = "fetch the file again if it was cut off, or set format"
_ARROW_FILE = b"ARROW1"
_FEATHER_V1 = b"FEA1"


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without its encoding: dictionary, run-end, view and large variants become the plain one."""
    if isinstance(kind, pa.DictionaryType | pa.RunEndEncodedType):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_null(kind):
        return pa.string()
    return kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with plain types; field metadata stays, Parquet's own field ids and schema metadata do not."""
    return pa.schema([_field(f) for f in schema])


def _field(field: pa.Field[Any]) -> pa.Field[Any]:
    kept = {k: v for k, v in (field.metadata or {}).items() if not k.startswith(b"PARQUET:")}
    return pa.field(field.name, plain_type(field.type), field.nullable, kept or None)


def fitted(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The rows with exactly the schema's columns and types: missing ones null; raises CastError if a value is lost."""
    columns = columns_of(rows, schema, _lossy)
    if not columns:
        return rows.select([])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _lossy(field: pa.Field[Any], was: pa.DataType, error: Exception) -> CastError:
    del was
    return CastError(f"{field.name}: {error}", field=field.name)


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file, or the row groups `[first, stop)` of it."""

    path: Path
    groups: tuple[int, int] | None = None

    def schema(self) -> pa.Schema:
        """Its columns; raises ReadError if it is no Parquet."""
        with self.open() as file:
            return plain_schema(file.schema_arrow)

    def sizes(self) -> list[tuple[int, int]]:
        """(rows, bytes) of each row group."""
        with self.open() as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            return [(group.num_rows, group.total_byte_size) for group in groups]

    def open(self) -> pq.ParquetFile:
        """The file, mapped into memory; raises ReadError if it is no Parquet."""
        import pyarrow.parquet as pq  # loads what reads it from clouds, too

        try:
            return pq.ParquetFile(self.path, memory_map=True)
        except pa.ArrowInvalid as error:
            raise ReadError(
                f"{self.path} is no Parquet file: {error}", path=f"file:{self.path}", hint=_AGAIN
            ) from error

    def read(self, schema: pa.Schema, after: Position | None, until: Position | None, want: int) -> Iterator[Piece]:
        """Rows of the schema's columns; the position is (row group, rows of it, rows so far)."""
        start = after or {"group": self.groups[0] if self.groups else 0, "row": 0, "rows": 0}
        group, skip, total = start["group"], start["row"], start["rows"]
        with self.open() as file:
            names = [name for name in file.schema_arrow.names if name in schema.names]
            last = self.groups[1] if self.groups else file.metadata.num_row_groups
            while group < last:
                row = 0
                try:
                    for batch in file.iter_batches(want, row_groups=[group], columns=names):
                        row += batch.num_rows
                        if row <= skip:
                            continue
                        rows = batch.slice(max(batch.num_rows - (row - skip), 0))
                        if until is not None and total + rows.num_rows > until["rows"]:
                            rows = rows.slice(0, until["rows"] - total)
                            row -= batch.num_rows - rows.num_rows
                        if rows.num_rows == 0:
                            return
                        total += rows.num_rows
                        yield Piece(fitted(rows, schema), (), {"group": group, "row": row, "rows": total})
                except (pa.ArrowInvalid, OSError) as error:
                    raise ReadError(f"{self.path}: row group {group}: {error}", path=f"file:{self.path}") from error
                group, skip = group + 1, 0


@dataclass(frozen=True)
class ArrowFile:
    """An Arrow IPC file or stream, which its first bytes tell; Feather version 2 is an IPC file."""

    path: Path

    def schema(self) -> pa.Schema:
        """Its columns; raises ReadError if it is neither."""
        with self._open() as reader:
            return plain_schema(reader.schema)

    def _open(self) -> Any:
        with self.path.open("rb") as file:
            magic = file.read(6)
        try:
            source = pa.memory_map(str(self.path))
            return pa.ipc.open_file(source) if magic == _ARROW_FILE else pa.ipc.open_stream(source)
        except (pa.ArrowInvalid, OSError) as error:
            hint = "Feather version 1 is not read; write it again as version 2" if magic[:4] == _FEATHER_V1 else _AGAIN
            raise ReadError(f"{self.path} is no Arrow file: {error}", path=f"file:{self.path}", hint=hint) from error

    def read(self, schema: pa.Schema, after: Position | None, until: Position | None, want: int) -> Iterator[Piece]:
        """Rows of the schema's columns; the position is (record batch, rows of it, rows so far)."""
        start = after or {"batch": 0, "row": 0, "rows": 0}
        skip, total = start["row"], start["rows"]
        with self._open() as reader:
            for number, batch in self._batches(reader, start["batch"]):
                while skip < batch.num_rows:
                    rows = batch.slice(skip, want if until is None else min(want, until["rows"] - total))
                    if rows.num_rows == 0:
                        return
                    skip += rows.num_rows
                    total += rows.num_rows
                    yield Piece(fitted(rows, schema), (), {"batch": number, "row": skip, "rows": total})
                skip = 0

    def _batches(self, reader: Any, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        try:
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                for number in range(first, reader.num_record_batches):
                    yield number, reader.get_batch(number)
            else:
                for number, batch in enumerate(reader):
                    if number >= first:
                        yield number, batch
        except (pa.ArrowInvalid, OSError) as error:
            raise ReadError(f"{self.path}: {error}", path=f"file:{self.path}") from error
