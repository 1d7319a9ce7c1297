"""What a chunk of a source's log comes to for steps that keep state: identities that changed, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Batch, Dataset
from tongqu.core.errors import SchemaError
from tongqu.engine.following.net import net, plain
from tongqu.engine.following.steps import INCOMPLETE, set_aside
from tongqu.engine.state.branch import held
from tongqu.engine.state.delta import Delta, distinct
from tongqu.engine.state.machine import Machine


def entered(machine: Machine, source: str, batches: Sequence[Batch]) -> Delta | None:
    """The change of one source; None if there is none. Counts what was read and merged."""
    dataset = machine.datasets[source]
    tables: list[pa.Table] = []
    emptied = False
    for batch in batches:
        if batch.kind == "schema" and not batch.rows.schema.equals(dataset.schema, check_metadata=False):
            raise _altered(dataset)
        if batch.kind == "truncate":
            machine.tally.read += sum(table.num_rows for table in tables)
            emptied, tables = True, []
        elif batch.rows.num_rows:
            tables.append(pa.Table.from_batches([batch.rows]))
    if not tables and not emptied:
        return None
    rows = pa.concat_tables(tables, promote_options="default") if tables else None
    if rows is not None:
        machine.tally.read += rows.num_rows
    delta = _changed(machine, source, rows)
    if emptied:
        taker, number, _ = machine.taker(source)
        delta = Delta(distinct([taker.identities(number).cast(delta.keys.schema), delta.keys]), delta.rows)
    return delta


def _changed(machine: Machine, source: str, rows: pa.Table | None) -> Delta:
    dataset = machine.datasets[source]
    parts = [f"_tongqu_i0_{number}" for number in range(len(_key(machine, source)))]
    if rows is None:
        empty = machine.identified(source, dataset.schema.empty_table())
        return Delta(empty.select(parts), empty)
    if source in machine.keyless:
        found = machine.identified(source, plain(rows))
        return Delta(found.select(parts), found)
    change = net(rows, dataset.key)
    whole = machine.identified(source, change.whole)
    keys = [whole.select(parts)]
    if change.gone.num_rows:
        gone = change.gone.select(list(dataset.key)).rename_columns(parts)
        keys.append(gone.cast(keys[0].schema))
    tables = [whole]
    for lacks, partial in change.partial:
        filled = _filled(machine, source, machine.identified(source, partial), lacks)
        tables.append(filled)
        keys.append(filled.select(parts))
    return Delta(pa.concat_tables(keys), pa.concat_tables(tables))


def _key(machine: Machine, source: str) -> tuple[str, ...]:
    return ("number",) if source in machine.keyless else machine.datasets[source].key


def _filled(machine: Machine, source: str, rows: pa.Table, lacks: Sequence[str]) -> pa.Table:
    """Rows that lack columns, with those that the step has kept of them; the others go to quarantine."""
    taker, number, branch = machine.taker(source)
    parts = list(branch.identity.names())
    needed = branch.looks_at.intersection(lacks)
    shown = {old: new for new, old in branch.copies.items()}
    columns = {name: shown[name] for name in lacks if name in shown}
    done = taker.filled(number, rows, columns) if not needed else rows.slice(0, 0)
    left: Any = pa.array(~held(rows.select(parts), done.select(parts)))
    if done.num_rows < rows.num_rows:
        name = min(needed) if needed else lacks[0]
        message = f"the log did not send {name!r}, which did not change and which a step needs"
        refused = rows.filter(left).drop_columns([*lacks, *parts])
        machine.tally.bad.extend(set_aside(refused, (INCOMPLETE, name, message)))
    return done


def _altered(dataset: Dataset) -> SchemaError:
    return SchemaError(
        f"{dataset.name!r} has other columns now, and steps keep state of its rows",
        path=dataset.name,
        hint="read all rows again with the new schema: run the same command with --restart",
    )
