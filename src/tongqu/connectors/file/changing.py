"""What a file sink does about a schema that has changed: a replaced file follows, an appended one keeps its columns."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.file import ledger as ledgers
from tongqu.connectors.file.content import content
from tongqu.connectors.file.target import Target, has_content
from tongqu.core.data import Write, WriteMode
from tongqu.core.errors import SchemaError
from tongqu.core.schema_changes import SchemaChanges
from tongqu.kit.accepted import remembered, to_remember
from tongqu.meaning.settling import ArrowShape, Settled, settle
from tongqu.meaning.widening import holds

LANDED = "landed"
"""The Arrow schema of the content, as base64 of its IPC form."""
LANDED_BEFORE = "landed_before"
_LOOSE = ("jsonl", "json", "xml")
"""Formats in which each row names its own columns."""


@dataclass(frozen=True)
class Changed:
    """What is done about the changes, the schema of the rows that are written, and what the ledger keeps of it."""

    settled: Settled
    schema: pa.Schema
    remember: Mapping[str, Any]


def settle_file(write: Write, target: Target, state: Path, head: Mapping[str, Any] | None) -> Changed:
    """Settle what has changed since the stream was last written into this target.

    Raises SchemaError for what is refused, for new columns of a CSV file that is appended to (its header cannot grow),
    and for content that was never ours and holds other types.
    """
    if head is None:
        head = ledgers.last(state, target.path, write.stream)
    finished = head is not None and head["state"] == "finished"
    known = remembered(head, finished=finished) if head is not None else None
    stored = str((head or {}).get(LANDED if finished else LANDED_BEFORE) or "")
    append = write.mode is WriteMode.APPEND and target.path.exists() and not target.partition
    there = _content(target, write, stored) if append or known is not None else None
    anew = not append or target.form.format in _LOOSE
    settled = settle(write, ArrowShape(there, anew) if there is not None else None, known)
    if there is None or (anew and write.schema_changes is SchemaChanges.EVOLVE):
        schema = settled.write.dataset.schema
    else:
        schema = _grown(settled, there, target)
    if append and (there is None or _foreign(settled, there)):
        target.check_append(write.dataset.schema)
    landed = base64.b64encode(schema.serialize().to_pybytes()).decode()
    return Changed(settled, schema, to_remember(settled.accepted, known) | {LANDED: landed, LANDED_BEFORE: stored})


def _foreign(settled: Settled, there: pa.Schema) -> bool:
    """Whether a column is there in a type that does not hold what arrives, and nothing was settled about it."""
    seen = {*settled.sieving.judged, *settled.alterations.types}
    arriving = [field for field in settled.write.dataset.schema if field.name in there.names]
    return any(not holds(there.field(field.name), field) for field in arriving if field.name not in seen)


def _content(target: Target, write: Write, stored: str) -> pa.Schema | None:
    """The schema of what is there; None if that cannot be told."""
    before = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored))) if stored else None
    if not has_content(target.path) or target.form.format in _LOOSE:
        return before if target.path.exists() else None
    if target.form.format in ("parquet", "arrow"):
        found: pa.Schema = content(target.path, target.form, write.dataset.schema).schema()
        return found
    if write.mode is not WriteMode.APPEND:
        return before
    if target.form.format != "csv" or not target.form.dialect.header:
        return None
    known = {field.name: field for field in [*write.dataset.schema, *(before or ())]}
    return pa.schema([known.get(name, pa.field(name, pa.string())) for name in target.csv_names(write.dataset.schema)])


def _grown(settled: Settled, there: pa.Schema, target: Target) -> pa.Schema:
    """The columns that are there, under their new names and types, then the new ones."""
    arriving, altered = settled.write.dataset.schema, settled.alterations
    fields = []
    for field in there:
        name = altered.renames.get(field.name, field.name)
        known = altered.types.get(name, field.with_name(name))
        fields.append(
            known.with_nullable(known.nullable or name not in arriving.names or arriving.field(name).nullable)
        )
    names = {field.name for field in fields}
    added = [field.with_nullable(True) for field in arriving if field.name not in names]
    if target.form.format == "csv" and (added or altered.renames):
        listed = ", ".join([*altered.renames.values(), *(field.name for field in added)])
        raise SchemaError(
            f"{target.path} has the columns {', '.join(there.names)}; new is {listed}, and a CSV file that is appended "
            "to keeps its header",
            path=settled.write.stream,
            hint="write replace or another file, or leave new columns out: schema_changes discard_column",
        )
    return pa.schema([*fields, *added])


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows as that schema, column by name; null where a column does not arrive."""
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in rows.schema.names
        else pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
