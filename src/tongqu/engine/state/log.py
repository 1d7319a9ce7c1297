"""The log of what changes in the result of steps that keep state, made of the logs of their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import LostPositionError
from tongqu.core.log import AT, OP, Finding, Follow, Lag, Log
from tongqu.engine.following.net import newest
from tongqu.engine.state.branch import beside, held
from tongqu.engine.state.delta import Delta
from tongqu.engine.state.entering import entered
from tongqu.engine.state.machine import Machine
from tongqu.engine.state.merging import Gathered, Merging
from tongqu.kit.faults import crash_point

if TYPE_CHECKING:
    from tongqu.engine.state.source import StateSource

_FORGET = 64


@dataclass
class StateLog(Log):
    """A position is `{"inputs": {log: position}, "version": n, "recipe": text}`: how far the sources were read, and
    the version of the state that holds exactly that. The version is committed in the state before its changes are given
    to the sink, so the state is never behind the sink; what the sink does not have is undone when the log is read."""

    machine: Machine
    logs: Mapping[str, Log]
    members: Mapping[str, tuple[str, ...]]
    """The sources of the plan that each log tells of."""
    dataset: Dataset
    recipe: str
    reads: Callable[[], StateSource | None] = lambda: None

    def __post_init__(self) -> None:
        self.changes = True
        self._durable = self._forgotten = 0

    def begin(self) -> Position:
        """See Log.begin."""
        inputs = {name: log.begin() for name, log in self.logs.items()}
        return {"inputs": inputs, "version": 0, "recipe": self.recipe}

    def snapshot(self) -> Source | None:
        """See Log.snapshot."""
        return self.reads()

    def head(self) -> Position:
        """See Log.head: it has no version."""
        return {"inputs": {name: log.head() for name, log in self.logs.items()}}

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        mine, theirs = position.get("version"), until.get("version")
        if mine is not None and theirs is not None and mine != theirs:
            return bool(mine > theirs)
        inputs = until["inputs"]
        return all(log.reached(position["inputs"][name], inputs[name]) for name, log in self.logs.items())

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        after = follow.after
        self._return_to(after)
        positions: dict[str, Any] = dict(after["inputs"])
        until = follow.until["inputs"] if follow.until is not None else None
        with closing(Merging(self.logs, positions, until)) as merging:
            while (found := merging.take(follow.stop)) is not None:
                positions |= found.positions
                batch = self._batch(found, positions)
                if batch is not None:
                    yield batch
                self._tidied(follow.stop)

    def _return_to(self, after: Position) -> None:
        store = self.machine.store
        if after.get("recipe") != self.recipe:
            raise LostPositionError(
                "the steps were changed, and what they keep was made by the steps before",
                hint="read all rows again: run the same command with --restart",
            )
        _ = store.database
        fresh = not after["version"] and not store.epoch
        if fresh and len(self.machine.keyless) == len(self.machine.datasets):
            store.reset("")
            store.loaded(self.recipe)
        store.rewind(int(after["version"]), self.recipe)
        self.machine.taken()
        self._durable = self._forgotten = int(after["version"])

    def _batch(self, found: Gathered, positions: Mapping[str, Position]) -> Batch | None:
        machine = self.machine
        told: dict[str, Delta] = {}
        result: Delta | None = None
        with machine.store.change() as version:
            for name, batches in found.batches.items():
                for source in self.members[name]:
                    own = machine.datasets[source].name
                    delta = entered(machine, source, [one for one in batches if one.dataset == own])
                    if delta is not None:
                        told[source] = delta
            if told:
                result = machine.change(told, version)
            else:
                machine.store.skip()
            crash_point("before_state")
        crash_point("after_state")
        position = {"inputs": dict(positions), "version": machine.store.version, "recipe": self.recipe}
        if not told:
            return Batch(self.dataset.name, self._none(), position, kind="heartbeat")
        tally = machine.taken()
        rows = self._rows(result, _newest(found)) if result is not None else self._none()
        return Batch(self.dataset.name, rows, position, bad=tally.bad, counts=beside(tally, rows.num_rows))

    def _none(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self.dataset.schema)

    def _rows(self, delta: Delta, at: int | None) -> pa.RecordBatch:
        """Deleted keys, then rows as they are now."""
        schema, identity = self.dataset.schema, self.machine.identity
        own = len(schema.names)
        parts = delta.rows.select(delta.rows.schema.names[own:])
        mask: Any = pa.array(~held(delta.keys, parts))
        gone = delta.keys.filter(mask)
        places = {identity.columns[number]: number for number in identity.needed}
        missing: list[Any] = [
            gone.column(places[one.name]).cast(one.type) if one.name in places else pa.nulls(gone.num_rows, one.type)
            for one in schema
        ]
        plain = delta.rows.select(schema.names).cast(schema)
        whole = pa.concat_tables([pa.Table.from_arrays(missing, schema=schema), plain]).combine_chunks()
        ops: Any = pa.array(["d"] * gone.num_rows + ["u"] * plain.num_rows, pa.string())
        instants: Any = pa.array([at] * whole.num_rows, pa.int64()).cast(pa.timestamp("us", "UTC"))
        made = whole.append_column(OP, [ops]).append_column(AT, [instants])
        (batch,) = made.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=made.schema)]
        return batch

    def _tidied(self, stop: Event) -> None:
        """Forget versions that no sink will ask for."""
        durable = self._durable
        if durable - self._forgotten >= _FORGET and not stop.is_set():
            self.machine.store.forget(durable)
            self._forgotten = durable

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge."""
        for name, log in self.logs.items():
            log.acknowledge(position["inputs"][name])
        self._durable = max(self._durable, int(position["version"]))

    def lag(self, position: Position) -> Lag:
        """That of the log that is furthest behind."""
        found = [log.lag(position["inputs"][name]) for name, log in self.logs.items()]
        return Lag(
            bytes=_most([one.bytes for one in found]),
            rows=_most([one.rows for one in found]),
            seconds=_most([one.seconds for one in found]),
            until_loss=min((one.until_loss for one in found if one.until_loss is not None), default=None),
        )

    def examine(self) -> Sequence[Finding]:
        """See Log.examine: those of all logs."""
        return [finding for log in self.logs.values() for finding in log.examine()]

    def forget(self) -> None:
        """See Log.forget; the state is thrown away too."""
        for log in self.logs.values():
            log.forget()
        self.machine.store.reset("")

    def close(self) -> None:
        """Release the state's file and the logs."""
        self.machine.close()
        self.machine.store.close()
        for log in self.logs.values():
            log.close()


def _newest(found: Gathered) -> int | None:
    seen = [newest(pa.Table.from_batches([one.rows])) for batches in found.batches.values() for one in batches]
    return max((at for at in seen if at is not None), default=None)


def _most(values: Sequence[Any]) -> Any:
    return max((one for one in values if one is not None), default=None)
