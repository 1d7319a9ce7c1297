"""The beginning of following: the log and the sinks are opened, and what was never loaded is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from tongqu.core.data import (
    Checkpoint,
    Counts,
    Dataset,
    Deletes,
    Mode,
    Opened,
    Position,
    Split,
    Started,
    Write,
    WriteMode,
)
from tongqu.core.errors import InvalidPlanError
from tongqu.core.events import Emit, SchemaChanged, StreamPlanned
from tongqu.core.log import Log
from tongqu.engine.following.first import first_load, stamped
from tongqu.engine.following.job import SPLIT, Asked, Group
from tongqu.engine.following.stream import Followed
from tongqu.engine.job import Job, Stream
from tongqu.engine.patience import Patience
from tongqu.engine.report import Report
from tongqu.kit.faults import crash_point


class Opening:
    """Opens one group of streams. `log` is there as soon as it is open, to be closed whatever happens after."""

    def __init__(self, asked: Asked, group: Group, started: Started, load: Callable[[Job, Emit], Report]):
        self._asked, self._group, self._started, self._load = asked, group, started, load
        self._around = asked.around
        self.log: Log | None = None

    def run(self) -> list[Followed]:
        """Open the log and the sinks, load what was never loaded; the streams, ready to go on."""
        asked, streams = self._asked, self._group.streams
        datasets = [_keyed(stream) for stream in streams]
        self.log = log = self._group.source.log(self._group.name, datasets)
        if asked.job.restart:
            log.forget()
        position: Position | None = None
        writes, opened, fresh = [], [], []
        for stream in streams:
            write = self._write(stream)
            patience = Patience(asked.run, stream.name, asked.job.limits, self._around, asked.emit)
            found = patience.asking(partial(stream.sink.open, write))
            crash_point("after_open")
            if SPLIT not in found.checkpoints and not found.finished:
                after, loads = found.previous, False
                if after is None:
                    position = position if position is not None else log.begin()
                    after, loads = position, log.changes
                split = Split(SPLIT, stream.source_dataset.name, {"after": after, "load": loads})
                patience.asking(partial(stream.sink.begin, write, [split]))
                found = replace(found, checkpoints={SPLIT: Checkpoint(split, None, Counts())})
            writes.append(write)
            opened.append(found)
            if found.checkpoints and found.checkpoints[SPLIT].position is None:
                fresh.append(stream)
        crash_point("after_begin")
        self._first(fresh, opened)
        return [
            self._made(number, stream, write, opened[number])
            for number, (stream, write) in enumerate(zip(streams, writes, strict=True))
        ]

    def _first(self, fresh: Sequence[Stream], opened: list[Opened]) -> None:
        """Load streams that were never loaded, and note where their log begins."""
        streams = self._group.streams
        loads = [s for s in fresh if opened[streams.index(s)].checkpoints[SPLIT].split.spec.get("load")]
        counts: dict[str, Counts] = {}
        if loads:
            assert self.log is not None  # noqa: S101
            counts = first_load(self._asked, loads, self.log, self._load, self._group.reports)
        for stream in fresh:
            number = streams.index(stream)
            write = self._write(stream)
            self._reopened(stream, write, opened, number)
            stored = opened[number].checkpoints[SPLIT]
            done = replace(stored, position=stored.split.spec["after"], counts=counts.get(stream.name, Counts()))
            session = stream.sink.session(write, stored.split)
            try:
                session.commit(done)
            finally:
                session.close()
            opened[number] = replace(opened[number], checkpoints={SPLIT: done})

    def _reopened(self, stream: Stream, write: Write, opened: list[Opened], number: int) -> None:
        """Take the stream's own place in the sink again after its load had one under the same name."""
        patience = Patience(self._asked.run, stream.name, self._asked.job.limits, self._around, self._asked.emit)
        found = patience.asking(lambda: stream.sink.open(write))
        opened[number] = replace(found, changes=(*opened[number].changes, *found.changes))

    def _made(self, number: int, stream: Stream, write: Write, opened: Opened) -> Followed:
        assert self.log is not None  # noqa: S101
        report = self._group.reports[number]
        report.schema = (*report.schema, *opened.changes)
        for change in opened.changes:
            self._asked.emit(SchemaChanged(self._asked.run, stream.name, change))
        made = Followed(
            stream, write, report, self._asked, self._asked.emit, self.log.changes, source_key(stream), self._write
        )
        made.opened(opened)
        plan = StreamPlanned(
            self._asked.run, stream.name, lane="columnar", mode=stream.mode.value, write=write.mode.value, splits=1,
            attempt=self._started.attempt, reason="changes are followed in Arrow batches",
        )  # fmt: skip
        self._asked.emit(plan)
        return made

    def _write(self, stream: Stream) -> Write:
        log = self.log
        assert log is not None  # noqa: S101
        arriving = stream.chain.output if stream.chain is not None else stream.source_dataset
        key = tuple(stream.key or arriving.key)
        by_key = stream.write in (WriteMode.UPSERT, WriteMode.HISTORY)
        if stream.mode is Mode.CDC and stream.deletes is not Deletes.IGNORE and not by_key:
            raise InvalidPlanError(f"write mode {stream.write.value!r} keeps every change", path=stream.name)
        dataset = arriving.bound(stream.target, key)
        if not by_key and log.changes:
            dataset, key = stamped(dataset), ()
        write = Write(
            stream=stream.name, dataset=dataset, mode=stream.write, sync=stream.sync, run=self._asked.run, key=key,
            deletes=stream.deletes, incremental=True,
            unique=log.changes and stream.write is WriteMode.UPSERT and stream.chain is None,
            restart=self._asked.job.restart,
            recipe=stream.chain.recipe if stream.chain is not None else stream.recipe,
            schema_changes=stream.schema_changes, renamed=stream.renamed, started_at=self._around.now().isoformat(),
        )  # fmt: skip
        if stream.deletes is not Deletes.IGNORE and not stream.sink.removes(write):
            raise InvalidPlanError(
                f"{stream.target!r} cannot lose single rows, so deletes cannot be followed",
                path=stream.name,
                hint="keep deleted rows: --deletes ignore (or deletes: ignore in the sink)",
            )
        return write


def source_key(stream: Stream) -> tuple[str, ...]:
    """The columns that tell rows of the log apart."""
    own = stream.identity or stream.source_dataset.key
    return tuple(own or (stream.key if stream.chain is None else ()))


def _keyed(stream: Stream) -> Dataset:
    dataset = stream.source_dataset
    return dataset if dataset.key else dataset.bound(dataset.name, source_key(stream))
