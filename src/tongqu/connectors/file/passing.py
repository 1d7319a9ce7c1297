"""Files that travel as they are: which raw format a part has, and its chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from tongqu.connectors.file.layout import Part
from tongqu.connectors.file.shelf import Shelf
from tongqu.core.data import Bytes, Position
from tongqu.kit.formats import parquet_chunks
from tongqu.kit.formats.columnar import ParquetFile

if TYPE_CHECKING:
    from tongqu.kit.formats.csv import CsvFile


def passing(part: Part, schema: pa.Schema, shelf: Shelf) -> str | None:
    """The raw format in which the part's rows mean the same to every reader; None if there is none, or if the part
    lacks a column of the dataset. Raises LostPositionError if the file has changed."""
    if list(part.columns) != schema.names:
        return None
    if part.format == "parquet" and (shelf.place is not None or part.member):
        return None  # the one who reads it by its path may do so when our copy is gone
    reader = part.reader(schema, shelf)
    if isinstance(reader, ParquetFile):
        return parquet_chunks.FORMAT if parquet_chunks.passable(reader, schema) else None
    if part.format != "csv":
        return None
    from tongqu.kit.formats import csv_chunks

    return "csv" if csv_chunks.passable(cast("CsvFile", reader)) else None


def pieces(parts: Sequence[Part], schema: pa.Schema, start: Position, want: int, shelf: Shelf) -> Iterator[Bytes]:
    """The rows of parts that pass, in chunks of about `want`, after a position of the whole split; the last one is
    marked. Raises LostPositionError if a file has changed."""
    after = {name: value for name, value in start.items() if name != "part"}
    first = len(parts) if after.get("end") else start.get("part", 0)
    paths = list(dict.fromkeys(part.path for part in parts))
    for number in range(first, len(parts)):
        for piece in _pieces(
            parts[number], schema, after if number == first and after else None, want, paths=paths, shelf=shelf
        ):
            last = piece.last and number == len(parts) - 1
            yield replace(
                piece, position={"part": number, **piece.position, **({"end": True} if last else {})}, last=last
            )


def _pieces(
    part: Part, schema: pa.Schema, after: Position | None, want: int, *, paths: Sequence[str], shelf: Shelf
) -> Iterator[Bytes]:
    reader = part.reader(schema, shelf)
    names, types = tuple(schema.names), tuple(str(field.type) for field in schema)
    if part.format == "csv":
        from tongqu.kit.formats import csv_chunks

        for chunk in csv_chunks.chunks(cast("CsvFile", reader), schema, after, want):
            blocks = _whole(chunk.blocks(), part, shelf) if chunk.last else chunk.blocks()
            yield Bytes(
                "csv", names, blocks, chunk.count, chunk.count, chunk.position, chunk.last, types, chunk.options
            )
    elif isinstance(reader, ParquetFile):
        for rows in parquet_chunks.ranges(reader, after, want):
            part.reader(schema, shelf)
            options = {"first": rows.first, "stop": rows.stop, "size": rows.size, "files": paths}
            yield Bytes(
                parquet_chunks.FORMAT, names, iter((bytes(reader.path),)), rows.count, rows.count, rows.position,
                rows.last, types, options,
            )  # fmt: skip


def _whole(blocks: Iterator[bytes | memoryview], part: Part, shelf: Shelf) -> Iterator[bytes | memoryview]:
    """The last bytes of a file; raises LostPositionError instead of ending if the file has changed on the way."""
    yield from blocks
    if shelf.place is None:  # as in FileSource.read
        part.unchanged(shelf)
