"""Files being written: rows in, one format and compression out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongqu.core.data import BadRow
from tongqu.core.errors import SchemaError
from tongqu.kit.formats.compression import deflate
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.documents_output import DocumentWriter
from tongqu.kit.formats.documents_output import unfit as not_held
from tongqu.kit.formats.fixed_width import fixed_lines
from tongqu.kit.formats.layout import Counted, FixedColumn
from tongqu.kit.formats.text import as_text
from tongqu.kit.formats.text_output import csv_header, csv_lines, encoded, json_lines, refused_rows
from tongqu.kit.formats.workbook_output import WorkbookWriter, too_long

_GROUP_ROWS = 262_144
_GROUP_BYTES = 128 << 20
TEXT = ("csv", "jsonl", "fixed")
"""Formats whose files are lines one after another, so that what was written before can stay as it is."""
DOCUMENTS = ("json", "xml", "xlsx")
"""Formats with something after the last row: written as a whole."""


@dataclass(frozen=True)
class Form:
    """How files are written. Parquet is zstd, Arrow is an IPC file with lz4; `compression` is for text."""

    format: str
    compression: str | None = None
    encoding: str = "utf-8"
    dialect: Dialect = field(default_factory=Dialect)
    columns: tuple[FixedColumn, ...] = ()
    """Of fixed width."""
    counted: Counted = "bytes"
    records: str = ""
    """XML: the names of root and row elements."""
    sheet: str = ""
    headings: str = "name"
    """Of a workbook: its first sheet's name, and what the header shows."""

    @property
    def extension(self) -> str:
        """The ending of file names: `.csv.gz`."""
        if self.format == "fixed":
            return ".txt" + (f".{self.compression}" if self.compression else "")
        name = ".tsv" if self.format == "csv" and self.dialect.delimiter == "\t" else f".{self.format}"
        return name + (f".{self.compression}" if self.compression else "")

    def head(self, schema: pa.Schema) -> bytes:
        """What stands before the first row: CSV's header, and the byte order mark of UTF-16 and UTF-32."""
        text = csv_header(schema.names, self.dialect) if self.format == "csv" and self.dialect.header else ""
        mark = "\ufeff" if self.encoding.startswith(("utf-16-", "utf-32-")) else ""
        data = (mark + text).encode(self.encoding)
        return bytes(deflate(self.compression, data)) if data else b""

    def check(self, schema: pa.Schema) -> None:
        """Raises SchemaError if a column's type cannot be written."""
        if self.format == "fixed":
            self._check_places(schema)
        for column in schema if self.format != "fixed" else ():
            empty = pa.table({column.name: pa.nulls(0, column.type)})
            try:
                if self.format in TEXT:
                    text_bytes(empty.to_batches()[0] if empty.to_batches() else _empty_batch(empty.schema), self)
                elif self.format in DOCUMENTS:
                    as_text(pa.nulls(0, column.type))
                elif self.format == "parquet":
                    pq.write_table(empty, pa.BufferOutputStream())
            except (SchemaError, pa.ArrowException) as error:
                raise SchemaError(
                    f"column {column.name!r} of type {column.type} cannot be written as {self.format}",
                    hint="cast or drop it, or choose another format",
                    field=column.name,
                ) from error

    def _check_places(self, schema: pa.Schema) -> None:
        names = [column.name for column in self.columns]
        if missing := [name for name in (*schema.names, *names) if name not in names or name not in schema.names]:
            raise SchemaError(
                f"fixed width: the layout and the columns differ in {', '.join(dict.fromkeys(missing))}",
                hint=f"layout= names the place of each of: {', '.join(schema.names)}",
                field=missing[0],
            )


def _empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)


def text_bytes(rows: pa.RecordBatch, form: Form) -> tuple[Any, list[BadRow]]:
    """Rows as compressed text, without a header, and those whose characters the encoding lacks."""
    if form.format == "fixed":
        null = form.dialect.null[0]
        lines, wide = fixed_lines(rows, form.columns, form.counted, form.encoding, null)
        return deflate(form.compression, encoded(lines, form.encoding)[0]), refused_rows(rows, wide)
    lines = csv_lines(rows, form.dialect) if form.format == "csv" else json_lines(rows)
    data, causes = encoded(lines, form.encoding)
    return deflate(form.compression, data), refused_rows(rows, causes)


def unfit(rows: pa.Table, form: Form) -> tuple[pa.Table, list[BadRow]]:
    """The rows that a file of this form can hold, and the others. For rows that wait elsewhere until it is written."""
    if rows.num_rows == 0 or form.format in ("parquet", "arrow"):
        return rows, []
    batch = rows.combine_chunks().to_batches()[0]
    causes = _causes(batch, form)
    if not causes:
        return rows, []
    keep = pa.array([row not in causes for row in range(batch.num_rows)])
    return rows.filter(keep), refused_rows(batch, causes)


def _causes(rows: pa.RecordBatch, form: Form) -> dict[int, str]:
    if form.format == "fixed":
        return fixed_lines(rows, form.columns, form.counted, form.encoding, form.dialect.null[0])[1]
    if form.format in DOCUMENTS:
        return too_long(rows) if form.format == "xlsx" else not_held(rows, form.format, form.encoding)
    if form.encoding == "utf-8":
        return {}
    return encoded(csv_lines(rows, form.dialect) if form.format == "csv" else json_lines(rows), form.encoding)[1]


class Output:
    """One file being written; complete only after `close`."""

    def __init__(
        self, path: Path, form: Form, schema: pa.Schema, *, head: bool = True, after: Iterable[bytes] | None = None
    ):
        """`head`: begin with the CSV header. `after`: the content of a JSON array or XML document to go on after."""
        self._form = form
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._file = path.open("wb")
        self._writer: Any = None
        try:
            self._begin(path, head, after)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, path: Path, head: bool, after: Iterable[bytes] | None) -> None:
        form, schema = self._form, self._schema
        if form.format == "parquet":
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        elif form.format == "arrow":
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(self._file, schema, options=options)
        elif form.format == "ipc-part":
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, schema, options=options)
        elif form.format == "xlsx":
            self._writer = WorkbookWriter(self._file, schema, form.sheet or path.stem, form.headings)
        elif form.format in DOCUMENTS:
            self._writer = DocumentWriter(
                self._file,
                format=form.format,
                compression=form.compression,
                encoding=form.encoding,
                records=form.records,
                after=after,
            )
        elif head:
            self._file.write(form.head(schema))

    def write(self, rows: pa.Table) -> list[BadRow]:
        """Write rows; gives those a text encoding has no characters for."""
        refused: list[BadRow] = []
        for batch in rows.to_batches(max_chunksize=65_536):
            if self._form.format in TEXT:
                data, bad = text_bytes(batch, self._form)
                self._file.write(data)
                refused += bad
            elif self._form.format == "parquet":
                self._pending.append(batch)
                count = sum(b.num_rows for b in self._pending)
                if count >= _GROUP_ROWS or sum(b.nbytes for b in self._pending) >= _GROUP_BYTES:
                    self._flush()
            else:
                self._writer.write_batch(batch)
        return refused

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._pending = []

    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def close(self) -> int:
        """Complete the file; its size. The content is not yet durable."""
        if self._file.closed:
            return 0
        try:
            self._flush()
            if self._writer is not None:
                self._writer.close()
            size = self._file.tell()
        finally:
            self._file.close()
        return size

    def abandon(self) -> None:
        """Let the file go, incomplete."""
        self._file.close()
