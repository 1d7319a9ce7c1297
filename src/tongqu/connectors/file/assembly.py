"""Puts the parts of a run together into the file or folder that becomes visible."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from tongqu.connectors.file.content import as_held, content
from tongqu.connectors.file.target import Target, has_content
from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc
from tongqu.kit import files, lasting
from tongqu.kit.formats import compression
from tongqu.kit.formats.output import TEXT, Form, Output
from tongqu.kit.formats.text import as_text

PART = Form("ipc-part")
"""How rows wait that are encoded only when the whole is put together."""
MANIFEST = "_tongqu_manifest.json"
_OPEN_FILES = 32
_NULL = "__HIVE_DEFAULT_PARTITION__"
_BATCH = 65_536


def part_form(target: Target) -> Form:
    """Text for one file is written into its parts as it will stand there; all else waits as Arrow."""
    return target.form if target.form.format in TEXT and not target.partition else PART


def build_file(target: Target, schema: pa.Schema, parts: Sequence[Path], append: bool) -> None:
    """Write `target.temporary`: the old content if appending, then the parts in order."""
    old = target.path if append and has_content(target.path) else None
    if target.form.format in TEXT:
        with target.temporary.open("wb") as out:
            if old is None:
                out.write(target.form.head(schema))
            else:
                files.append_file(old, out)
                out.write(_missing_line_end(old, target.form))
            for part in parts:
                files.append_file(part, out)
        return
    goes_on = old is not None and target.form.format in ("json", "xml")
    after = compression.inflate(old, target.form.compression) if old and goes_on else None
    output = Output(target.temporary, target.form, schema, after=after)
    try:
        for batch in _old_rows(old, target.form, schema) if old and not goes_on else ():
            output.write(pa.Table.from_batches([batch]))
        for batch in _rows(parts):
            output.write(pa.Table.from_batches([batch]))
        output.close()
    finally:
        output.abandon()


def _old_rows(old: Path, form: Form, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    reader = content(old, form, schema)
    held = reader.schema() if form.format in ("parquet", "arrow") else as_held(form, schema)
    for piece in reader.read(held, None, None, _BATCH):
        if piece.bad:
            raise SchemaError(
                f"{old}: a row that is already there cannot be read as {form.format}: {piece.bad[0].message}",
                hint="mend it, or write replace",
            )
        yield from _grown(piece.rows, schema)


def _grown(rows: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of the old content in the schema of the new one, which has the same columns in the same places, maybe
    renamed or wider, and then those that were added."""
    if rows.schema.equals(schema):
        yield rows
        return
    table = pa.Table.from_batches([rows]).rename_columns(schema.names[: rows.num_columns])
    for field in list(schema)[rows.num_columns :]:
        table = table.append_column(field, pa.nulls(rows.num_rows, field.type))
    yield from table.cast(schema).to_batches()


def _rows(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with pa.OSFile(str(part), "rb") as file, pa.ipc.open_stream(file) as reader:
            yield from reader


def _missing_line_end(old: Path, form: Form) -> bytes:
    """What the old content lacks at its end so that the next row begins on a line of its own."""
    end = "\n".encode(form.encoding)
    tail = b""
    for block in compression.inflate(old, form.compression):
        tail = (tail + block)[-len(end) :]
    return b"" if tail == end else bytes(compression.deflate(form.compression, end))


def build_folder(target: Target, schema: pa.Schema, parts: Sequence[Path], run: str) -> list[str]:
    """Write `target.temporary` as a folder of `column=value` folders; the files' paths in it.

    Names are made of the run and a number, so that a repetition of the same run gives the same names.
    """
    shutil.rmtree(target.temporary, ignore_errors=True)
    target.temporary.mkdir()
    folders = _Folders(target, schema, run)
    try:
        for batch in _rows(parts):
            folders.write(pa.Table.from_batches([batch]))
    finally:
        folders.close()
    for name in folders.names:
        lasting.sync(target.temporary / name)
    for folder in {above for name in folders.names for above in Path(name).parents}:
        lasting.sync(target.temporary / folder)
    content = json.dumps({"run": run, "files": folders.names}, ensure_ascii=False, indent=1)
    files.write_atomically(target.temporary / MANIFEST, content.encode())
    lasting.sync(target.temporary.parent)  # before it is noted: a folder that is gone then was moved
    return folders.names


class _Folders:
    """Open files by partition, the least recently used closed when there are too many."""

    def __init__(self, target: Target, schema: pa.Schema, run: str):
        self._target = target
        self._schema = pa.schema([f for f in schema if f.name not in target.partition])
        self._run = run
        self._open: OrderedDict[str, Output] = OrderedDict()
        self.names: list[str] = []

    def write(self, rows: pa.Table) -> None:
        """Each row into its partition's file."""
        labels = [self._labels(rows, name) for name in self._target.partition]
        folder = pc.binary_join_element_wise(*labels, "/") if len(labels) > 1 else labels[0]
        for name in pc.unique(folder).to_pylist():
            own = rows.filter(pc.equal(folder, name)).select(self._schema.names)
            self._file(name).write(own.cast(self._schema))

    @staticmethod
    def _labels(rows: pa.Table, name: str) -> Any:
        texts = as_text(rows.column(name))
        found = pc.unique(texts)
        shown = [f"{quote(name)}={_NULL if t is None else quote(t, safe=' ')}" for t in found.to_pylist()]
        return pa.array(shown, pa.string()).take(pc.index_in(texts, value_set=found))

    def _file(self, folder: str) -> Output:
        if folder in self._open:
            self._open.move_to_end(folder)
            return self._open[folder]
        if len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        name = f"{folder}/part-{self._run}-{len(self.names):05d}{self._target.form.extension}"
        path = self._target.temporary / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.names.append(name)
        self._open[folder] = Output(path, self._target.form, self._schema)
        return self._open[folder]

    def close(self) -> None:
        """Complete all files."""
        while self._open:
            self._open.popitem()[1].close()
