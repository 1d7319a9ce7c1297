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
from tongqu.core.errors import InvalidPlanError, RunError, TongquError
from tongqu.core.events import Emit, SchemaChanged, StreamPlanned, Warned
from tongqu.core.lending import Shared
from tongqu.core.log import Log
from tongqu.core.schema_changes import Kind
from tongqu.engine.following import lost
from tongqu.engine.following.filling import added, fill, wants
from tongqu.engine.following.first import first_load, stamped
from tongqu.engine.following.job import SPLIT, Asked, Group, fail, isolated
from tongqu.engine.following.sent import check_sent
from tongqu.engine.following.stream import Followed
from tongqu.engine.job import Job, Stream
from tongqu.engine.patience import Patience
from tongqu.engine.report import Report
from tongqu.kit.faults import crash_point


class LoadFailedError(Exception):
    """No stream could be loaded for the first time; why is in their reports."""


class NeverBegunError(Exception):
    """What was asked for cannot be, and nothing of it was ever done: `error` says why."""

    def __init__(self, error: TongquError):
        super().__init__(error.message)
        self.error = error


class Opening:
    """Opens one group of streams. `log` is there as soon as it is open, to be closed whatever happens after.

    What only one stream meets is in its report, and the others are opened; if none can be, the first error is raised.
    """

    def __init__(self, asked: Asked, group: Group, started: Started, load: Callable[[Job, Emit], Report]):
        self._asked, self._group, self._started, self._load = asked, group, started, load
        self._around = asked.around
        self.log: Log | None = None
        self.unknown = False
        """Whether there is a stream of which it is not known how far it has come, since it could not be opened."""
        self.paused: set[str] = set()
        """Streams that the log has lost, and that are not read anew."""
        self.filling = False
        """Whether a log was asked for rows that were there."""
        self._loaded: set[str] = set()

    def run(self) -> list[Followed]:
        """Open the log and the sinks, load what was never loaded; the streams, ready to go on, or `failed`."""
        streams = self._group.streams
        self.log = log = self._group.source.log(self._group.name, [keyed(stream) for stream in streams])
        if not log.changes and any(stream.mode is Mode.CDC for stream in streams):
            raise InvalidPlanError(
                "this log tells messages, not changes", path=streams[0].name, hint="follow it with mode: stream"
            )
        writes = [self._write(stream) for stream in streams]
        if self._asked.job.restart:
            log.forget()
        self._excuse(streams, writes)
        begun: list[Position] = []

        def begin() -> Position:
            if not begun:
                begun.append(log.begin())
            return begun[0]

        opened: dict[str, Opened] = {}
        problems: list[TongquError] = []
        for stream, write, report in zip(streams, writes, self._group.reports, strict=True):
            try:
                opened[stream.name] = self._opened(stream, write, begin)
            except TongquError as error:
                if not isolated(error):
                    raise
                fail(report, error, stream.name)
                problems.append(error)
        if not opened:
            raise problems[0]
        self.unknown = len(problems) > len(self.paused)
        crash_point("after_begin")
        fresh = [s for s in streams if s.name in opened and opened[s.name].checkpoints[SPLIT].position is None]
        self._first(fresh, opened)
        made = [
            self._made(number, stream, write, opened[stream.name])
            for number, (stream, write) in enumerate(zip(streams, writes, strict=True))
            if stream.name in opened
        ]
        left = [one for one in made if one.failed is None]
        if not left:
            raise LoadFailedError
        return made

    def _excuse(self, streams: Sequence[Stream], writes: Sequence[Write]) -> None:
        """Raise NeverBegunError for streams that are absent if none of this sync was ever begun: then it is what was
        asked for that is wrong, not the table that went."""
        absent = self._asked.job.absent
        for stream, write in zip(streams, writes, strict=True) if absent else ():
            patience = Patience(self._asked.run, stream.name, self._asked.job.limits, self._around, self._asked.emit)
            found = patience.asking(partial(stream.sink.open, write))
            if found.previous is not None or found.checkpoints:
                return
        if absent:
            raise NeverBegunError(next(iter(absent.values())))

    @property
    def _there(self) -> Log:
        """The log, once it is asked for the streams."""
        assert self.log is not None  # noqa: S101  # `run` sets it before it calls anything else
        return self.log

    def _opened(self, stream: Stream, write: Write, begin: Callable[[], Position]) -> Opened:
        patience = Patience(self._asked.run, stream.name, self._asked.job.limits, self._around, self._asked.emit)
        found = patience.asking(partial(stream.sink.open, write))
        crash_point("after_open")
        if found.previous is None and not found.checkpoints:
            check_sent(self._there, stream.source_dataset.name, stream, write.key)
        after, loads, counts = found.previous, False, found.counts
        shared = [one for id, one in found.checkpoints.items() if id != SPLIT]
        known = found.previous is not None or SPLIT in found.checkpoints
        if known and not shared and self._asked.job.reloads(stream):
            return self._anew(stream, write, found)
        if SPLIT in found.checkpoints and not shared:
            if why := lost.stored(found.checkpoints[SPLIT].position):
                self.paused.add(stream.name)
                raise why
            return found
        if shared:
            after = self._alone(stream, found.checkpoints.get(SPLIT), shared, begin)
            counts = Counts()
            for one in found.checkpoints.values():
                counts.add(one.counts)
        if after is None:
            after, loads = begin(), self._there.changes
        split = Split(SPLIT, stream.source_dataset.name, {"after": after, "load": loads})
        patience.asking(partial(stream.sink.begin, write, [split]))
        return replace(found, checkpoints={SPLIT: Checkpoint(split, None, counts)})

    def _anew(self, stream: Stream, write: Write, found: Opened) -> Opened:
        """Read the table of one stream anew, from where the log has all of it again."""
        log, before = self._there, found.checkpoints.get(SPLIT)
        if not log.changes:
            raise InvalidPlanError("messages cannot be read anew", path=stream.name, hint="run it without --reload")
        if before is not None and lost.stored(before.position):
            self.paused.add(stream.name)
        patience = Patience(self._asked.run, stream.name, self._asked.job.limits, self._around, self._asked.emit)
        after = patience.asking(partial(log.rejoin, stream.source_dataset.name))
        times = int(before.split.spec.get(lost.AGAIN, 0)) if before is not None else 0
        split = Split(SPLIT, stream.source_dataset.name, {"after": after, "load": True, lost.AGAIN: times + 1})
        patience.asking(partial(stream.sink.begin, write, [split]))
        self.paused.discard(stream.name)
        crash_point("after_rejoin")
        return replace(found, checkpoints={SPLIT: Checkpoint(split, None, Counts())})

    def _alone(
        self, stream: Stream, before: Checkpoint | None, shared: Sequence[Checkpoint], begin: Callable[[], Position]
    ) -> Position:
        """Where to go on with a stream that several processes shared: behind what each of its parts has committed."""
        if not isinstance(self.log, Shared):
            raise InvalidPlanError(
                "several processes shared this stream, and its log cannot be read on by one of them",
                path=stream.name,
                hint="put `workers` back into `run`",
            )
        first = before.position if before is not None and before.position is not None else begin()
        return self.log.together([first, *(one.position for one in shared if one.position is not None)])

    def _first(self, fresh: Sequence[Stream], opened: dict[str, Opened]) -> None:
        """Load streams that were never loaded, and note where their log begins."""
        loads = [s for s in fresh if opened[s.name].checkpoints[SPLIT].split.spec.get("load")]
        counts: dict[str, Counts] = {}
        self._loaded = {s.name for s in loads}
        times = {s.name: int(opened[s.name].checkpoints[SPLIT].split.spec.get(lost.AGAIN, 0)) for s in loads}
        for again in sorted(set(times.values())):
            some = [stream for stream in loads if times[stream.name] == again]
            counts |= first_load(self._asked, some, self._there, self._load, self._group.reports, again=again)
        for stream in fresh:
            if stream in loads and stream.name not in counts:
                continue
            write = self._write(stream)
            before = opened[stream.name].checkpoints[SPLIT].counts
            self._reopened(stream, write, opened)
            stored = opened[stream.name].checkpoints[SPLIT]
            done = replace(stored, position=stored.split.spec["after"], counts=counts.get(stream.name, before))
            session = stream.sink.session(write, stored.split)
            try:
                session.commit(done)
            finally:
                session.close()
            opened[stream.name] = replace(opened[stream.name], checkpoints={SPLIT: done})

    def _reopened(self, stream: Stream, write: Write, opened: dict[str, Opened]) -> None:
        """Take the stream's own place in the sink again after its load had one under the same name."""
        patience = Patience(self._asked.run, stream.name, self._asked.job.limits, self._around, self._asked.emit)
        found = patience.asking(lambda: stream.sink.open(write))
        opened[stream.name] = replace(found, changes=(*opened[stream.name].changes, *found.changes))

    def _made(self, number: int, stream: Stream, write: Write, opened: Opened) -> Followed:
        report = self._group.reports[number]
        report.schema = (*report.schema, *opened.changes)
        for change in opened.changes:
            self._asked.emit(SchemaChanged(self._asked.run, stream.name, change))
        made = Followed(
            stream, write, report, self._asked, self._asked.emit, self._there.changes, source_key(stream), self._write
        )
        made.fill = self.fill
        if wants(stream) and stream.name not in self._loaded and (new := added(opened.changes)):
            self.fill(stream, new, any(change.kind is Kind.DROPPED for change in opened.changes))
        made.opened(opened)
        if report.problem is not None:
            made.failed = RunError(report.problem["message"])
            return made
        plan = StreamPlanned(
            self._asked.run, stream.name, lane="columnar", mode=stream.mode.value, write=write.mode.value, splits=1,
            attempt=self._started.attempt, reason="changes are followed in Arrow batches",
        )  # fmt: skip
        self._asked.emit(plan)
        return made

    def fill(self, stream: Stream, columns: Sequence[str], renamed: bool) -> None:
        """See Followed.fill."""
        told = partial(Warned, self._asked.run, stream.name, "stream.unfilled")
        will = fill(self._there, stream, columns, lambda why: self._asked.emit(told(why)), renamed=renamed)
        self.filling = self.filling or will

    def _write(self, stream: Stream) -> Write:
        log = self._there
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
            deletes=stream.deletes, incremental=True, follows=True,
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


def keyed(stream: Stream) -> Dataset:
    """The dataset of a stream as its log is asked for it."""
    dataset = stream.source_dataset
    return dataset if dataset.key else dataset.bound(dataset.name, source_key(stream))
