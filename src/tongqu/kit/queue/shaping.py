"""Brings rows to a topic's columns, and back to those that a reader knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.core.data import WriteMode
from tongqu.core.errors import SchemaError
from tongqu.core.log import AT, CONTROL, OP
from tongqu.kit.accepted import remembered, to_remember
from tongqu.kit.columns import columns_of
from tongqu.meaning.settling import ArrowShape, settle

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.core.data import Write
    from tongqu.kit.ledger import Head
    from tongqu.meaning.settling import Settled


def own(schema: pa.Schema) -> pa.Schema:
    """The columns without those that tell of changes."""
    import pyarrow as pa

    return pa.schema([field for field in schema if field.name not in CONTROL])


def told(schema: pa.Schema) -> list[pa.Field[Any]]:
    """The columns that tell of changes, in their order."""
    return [schema.field(name) for name in CONTROL if name in schema.names]


def shaped(rows: pa.Table, schema: pa.Schema, *, control: bool = False) -> pa.Table:
    """Rows in the columns of a schema: what they lack is null, what it lacks is left out; with `control` followed by
    their columns of control. Raises SchemaError for a value that the wanted type does not hold."""
    import pyarrow as pa

    more = told(rows.schema) if control else []
    columns = columns_of(rows, schema, _narrower)
    fields = [f.with_nullable(True) if f.name not in rows.schema.names else f for f in schema]
    columns += [rows.column(field.name) for field in more]
    return pa.Table.from_arrays(columns, schema=pa.schema([*fields, *more]))


def _narrower(field: pa.Field[Any], was: pa.DataType, error: Exception) -> SchemaError:
    return SchemaError(
        f"{field.name!r} was {was} and is {field.type} now, which does not hold all of its values: {error}",
        field=field.name,
        hint="read the older records with a pipeline of their own, or write into another topic",
    )


def covers(known: pa.Schema, arriving: pa.Schema) -> bool:
    """Whether rows of one schema can be given in another without losing anything."""
    from tongqu.meaning.widening import holds

    return all(
        field.name in known.names
        and (known.field(field.name).type == field.type or holds(known.field(field.name), field))
        for field in arriving
    )


def marked(rows: pa.Table, op: str) -> pa.Table:
    """Rows that all say what happened to them, unless they say it themselves."""
    import pyarrow as pa

    if OP in rows.schema.names:
        return rows
    place = next((n for n, name in enumerate(rows.schema.names) if name in CONTROL), rows.num_columns)
    return rows.add_column(place, OP, pa.repeat(op, rows.num_rows))


def batch_of(rows: pa.RecordBatch, target: pa.Schema, *, control: bool = False) -> pa.RecordBatch:
    """One batch in the columns of a schema."""
    import pyarrow as pa

    table = shaped(pa.Table.from_batches([rows]), target, control=control)
    found = table.combine_chunks().to_batches()
    return found[0] if found else pa.RecordBatch.from_pylist([], schema=table.schema)


def of_changes(write: Write) -> bool:
    """Whether a stream makes a topic of changes rather than of messages."""
    return write.mode is WriteMode.UPSERT or OP in write.dataset.columns


def settled_for(write: Write, last: Head | None, *, there: bool) -> tuple[Settled, pa.Schema, dict[str, Any]]:
    """What is done about a schema that has changed since a topic was last given rows (`last`, by the ledger; `there`:
    the topic still is), the topic's columns from now on, and what the ledger is to remember."""
    from tongqu.kit.originals import schema_of, shape_of

    anew = write.mode is WriteMode.REPLACE
    known = remembered(last.spec, finished=last.finished) if last and there else None
    before = schema_of(last.spec["arrow"]) if last and "arrow" in last.spec and known else None
    shape = ArrowShape(before, anew=anew) if before is not None else None
    settled = settle(replace(write, renamed={}), shape, known)
    schema = own(settled.write.dataset.schema) if anew or before is None else _grown(own(before), settled)
    return settled, schema, to_remember(settled.accepted, known) | {"arrow": shape_of(schema.remove_metadata())}


def _grown(before: pa.Schema, settled: Settled) -> pa.Schema:
    """The topic's columns with those that came new, and types that became wider; what is gone stays, and is null."""
    import pyarrow as pa

    types = settled.alterations.types
    arriving = own(settled.write.dataset.schema)
    fields = []
    for field in before:
        kept = types.get(field.name, field)
        if field.name in arriving.names:
            came = arriving.field(field.name)
            fields.append(pa.field(field.name, kept.type, field.nullable or came.nullable, came.metadata))
        else:
            fields.append(kept.with_nullable(True))
    return pa.schema([*fields, *(f.with_nullable(True) for f in arriving if f.name not in before.names)])


def dated(rows: pa.RecordBatch, at: float) -> pa.RecordBatch:
    """Changes with the time at which they came into the queue (seconds since 1970), where they tell no other."""
    import pyarrow as pa

    if AT in rows.schema.names:
        return rows
    place = rows.schema.get_field_index(OP) + 1
    instant: Any = pa.scalar(datetime.fromtimestamp(at, UTC), pa.timestamp("us", "UTC"))
    field: Any = pa.field(AT, pa.timestamp("us", "UTC"))
    return rows.add_column(place, field, pa.repeat(instant, rows.num_rows))
