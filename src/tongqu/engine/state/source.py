"""Steps that keep state, shown to the engine as one source whose log tells what changes in their result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Read
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import Log
from tongqu.core.plan import Plan
from tongqu.engine.state.branch import Tally, beside
from tongqu.engine.state.log import StateLog
from tongqu.engine.state.machine import Machine
from tongqu.engine.state.store import Store


@dataclass(frozen=True)
class Feed:
    """One source of the plan: where its rows are, and whether its log tells changes or plain messages."""

    source: Source
    dataset: Dataset
    changes: bool = True


@dataclass
class StateSource(Source):
    """A plan over feeds (by source) as one source. Its full read brings the state to version 0 and gives the whole
    result; its log goes on from there. `folder` is where the state lies, one file for each log name."""

    plan: Plan
    feeds: Mapping[str, Feed]
    folder: Path
    name: str
    limit_rows: int = 50_000_000
    memory_mb: int = 512
    recipe: str = ""
    _logs: list[StateLog] = field(default_factory=list)
    _closing: Sequence[Callable[[], None]] = ()
    resumable = False

    def __post_init__(self) -> None:
        probe = self._machine(Path(self.folder) / "unused")
        try:
            self.dataset = Dataset(self.name, _nullable(probe.output.schema), probe.identity.key)
        finally:
            probe.close()

    def _machine(self, path: Path) -> Machine:
        keyless = frozenset(name for name, feed in self.feeds.items() if not feed.changes)
        datasets = {name: feed.dataset for name, feed in self.feeds.items()}
        return Machine(self.plan, datasets, Store(path, limit_rows=self.limit_rows, memory_mb=self.memory_mb), keyless)

    def check(self) -> Iterator[str]:
        """All sources, one after the other."""
        for name, feed in self.feeds.items():
            for stage in feed.source.check():
                yield f"{name}: {stage}"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """The one dataset."""
        del patterns
        return [self.dataset]

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log. Logs of changes are shared by the sources of one connection; each log of messages has its
        own."""
        del datasets
        logs: dict[str, Log] = {}
        members: dict[str, list[str]] = {}
        for place, (source, feed) in enumerate(self.feeds.items()):
            found = next((one for one, names in members.items() if self._shares(names[0], feed)), None)
            members.setdefault(found or f"l{place}", []).append(source)
        for one, names in members.items():
            feeds = [self.feeds[source] for source in names]
            own = name if len(members) == 1 else f"{name}_{one}"
            logs[one] = feeds[0].source.log(own, [feed.dataset for feed in feeds])
        path = Path(self.folder) / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.duckdb"
        machine = self._machine(path)
        made = StateLog(machine, logs, {one: tuple(names) for one, names in members.items()}, self.dataset, self.recipe)
        self._logs.append(made)
        made.reads = lambda: self._reading(made)
        return made

    def _shares(self, other: str, feed: Feed) -> bool:
        together = feed.changes and self.feeds[other].changes and not feed.source.apart
        return together and self.feeds[other].source is feed.source

    def _reading(self, log: StateLog) -> StateSource | None:
        """A source whose full read sees the instant at which the logs began to be kept, where that can be had."""
        snapshots = {one: kept.snapshot() for one, kept in log.logs.items()}
        if not any(snapshots.values()):
            return None
        feeds = dict(self.feeds)
        for one, found in snapshots.items():
            for source in log.members[one] if found is not None else ():
                assert found is not None  # noqa: S101
                feeds[source] = replace(feeds[source], source=found)
        made = replace(self, feeds=feeds, _logs=[log])
        made._closing = [found.close for found in snapshots.values() if found is not None]
        return made

    def read(self, read: Read) -> Iterator[Batch]:
        """The whole result, from which the log goes on. It cannot be cut; what was kept before is forgotten."""
        if not self._logs:
            raise InvalidPlanError("steps that keep state are read through their log", hint="read with `mode: full`")
        log = self._logs[-1]
        machine = log.machine
        machine.store.reset("")
        rows = {name: self._rows(feed, read, machine.tally) for name, feed in self.feeds.items()}
        store = machine.store
        with store.filling():
            result = machine.fill(rows)
            if read.stop.is_set():
                return
            store.loaded(self.recipe)
        tally = machine.taken()
        own = len(self.dataset.columns)
        plain = result.select(result.schema.names[:own]).cast(self.dataset.schema)
        yield from (Batch(self.dataset.name, one, None) for one in plain.to_batches(max_chunksize=read.batch_rows))
        empty = pa.RecordBatch.from_pylist([], schema=self.dataset.schema)
        yield Batch(self.dataset.name, empty, {"end": True}, bad=tally.bad, counts=beside(tally, plain.num_rows))

    def _rows(self, feed: Feed, read: Read, tally: Tally) -> Iterator[pa.Table]:
        if not feed.changes:
            return  # messages are read from the beginning of their log
        for split in feed.source.splits(feed.dataset, 1):
            asked = Read(feed.dataset, split, batch_rows=read.batch_rows, chunk_rows=read.chunk_rows, stop=read.stop)
            for batch in feed.source.read(asked):
                tally.read += batch.rows.num_rows + len(batch.bad)
                tally.bad.extend(batch.bad)
                if batch.rows.num_rows:
                    yield pa.Table.from_batches([batch.rows])

    def close(self) -> None:
        """Release what a snapshot holds; logs and sources are closed by those who opened them."""
        for close in self._closing:
            close()
        self._closing = ()


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([one.with_nullable(True) for one in schema])
