"""`plan`: what the project's files would change, and what that does to the tables that pipelines write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tongqu.app.project.load import Project, laid
from tongqu.app.project.model import PipelineEntry
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.execution import Kept
from tongqu.app.services.impacts import impacts
from tongqu.app.services.piping import Part, RunRequest, parts
from tongqu.app.services.scheduling import upcoming
from tongqu.app.services.tasks import Tasks
from tongqu.app.services.timing import local_zone
from tongqu.app.services.versioning import Versioning
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Dataset, Mode, Write, WriteMode
from tongqu.core.errors import TongquError
from tongqu.engine.following.opening import keyed
from tongqu.engine.following.sent import check_stream
from tongqu.engine.job import Stream
from tongqu.engine.leaving import leaving

_MOST = 2000
"""Statements and notes shown of one table."""


def plan(mine: Versioning, ends: Ends, *, offline: bool = False, every: bool = False) -> dict[str, Any]:
    """The changes with everything downstream, and per table that a changed pipeline writes what a run would do to it.

    `impacts` tells for every changed field of the dictionary which pipelines follow by themselves and where the others
    break. Nothing is changed and no file or table is made. A system that cannot be reached becomes a note.
    `every` looks at the tables of all pipelines, `offline` at none.
    """
    head, found = mine.pending()
    project = mine.project()
    touched = {name for change in found for name in (change.resource, *change.affects)}
    written = {made: name for name, several in project.carried.items() for made in several}
    names = [name for name in project.pipelines if every or f"pipelines.{written.get(name, name)}" in touched]
    document: dict[str, Any] = {
        "version": head.version if head else 0,
        "env": mine.env,
        "changes": [change.to_json() for change in found],
        "targets": [],
        "schedules": upcoming(Tasks.of(project, mine.env), local_zone(), datetime.now(UTC).timestamp()),
        "notes": [mine.scrubber.problem(note) for note in project.notes],
        "contracts": _contracts(mine, project, head.version if head else 0, offline=offline),
    }
    streams: dict[str, list[Stream]] = {}
    shown = replace(project, pipelines={**project.pipelines, **_unqueued(project)})
    with ExitStack() as stack:
        looking = Looking(ends, stack)
        for name in () if offline else names:
            try:
                for part in parts(name, RunRequest((name,)), shown, looking):
                    found_streams = part.streams(looking.keep)
                    streams.setdefault(name, []).extend(found_streams)
                    document["targets"] += [_target(part, stream, looking) for stream in found_streams]
            except TongquError as error:
                problem = mine.scrubber.problem(error.problem())
                document["notes"].append(
                    {**problem, "path": problem["path"] or f"pipelines.{name}", "level": "warning"}
                )
        before = laid(head.shared, head.overlay) if head else {}
        document["impacts"] = impacts(before, laid(project.shared, project.overlay), project.pipelines, streams)
    return document


def _unqueued(project: Project) -> dict[str, PipelineEntry]:
    """The pipelines that take from a queue of the project, as if they took from the source of what fills it: the queue
    need not be there yet, and gives the same rows."""
    return {
        made: project.pipelines[made].model_copy(update={"source": project.pipelines[name].source})
        for name, several in project.carried.items()
        for made in several
        if name in project.pipelines and made in project.pipelines
    }


def _contracts(mine: Versioning, project: Project, head: int, *, offline: bool) -> list[dict[str, Any]]:
    return [] if mine.promises is None else mine.promises.planned(project, head, offline=offline)


def _target(part: Part, stream: Stream, looking: Looking) -> dict[str, Any]:
    arriving = stream.chain.output if stream.chain is not None else stream.source_dataset
    key = tuple(stream.key or arriving.key)
    check_stream(stream, keyed(stream), key)
    write = Write(
        stream=stream.name, dataset=arriving.bound(stream.target, key), mode=stream.write, sync="", run="", key=key,
        deletes=stream.deletes, schema_changes=stream.schema_changes, renamed=stream.renamed,
    )  # fmt: skip
    existing = looking.existing(part.sink, stream.target)
    statements: Sequence[str] = ()
    notes: list[str] = [*_leaving(part, stream, write), *_apart(part, stream), *_steps(part)]
    try:
        if existing is not None or not looking.missing(part.sink):
            statements = stream.sink.preview(write)
    except TongquError as error:
        notes.append(looking.told(error))
    action = "create" if existing is None else "alter" if statements else "none"
    if existing is not None and stream.write is WriteMode.REPLACE and not statements:
        action = "replace"
    gone = [name for name in existing.columns if name not in arriving.columns] if existing else []
    return {
        "pipeline": part.stream,
        "stream": stream.name,
        "connection": part.sink.name,
        "dataset": stream.target,
        "write": stream.write.value,
        "action": action,
        "statements": list(statements[:_MOST]),
        "rows": stream.source_dataset.rows,
        "replaces": existing.rows if existing is not None and stream.write is WriteMode.REPLACE else None,
        "not_filled": [name for name in gone if not name.startswith("_")],
        "notes": notes,
    }


def _leaving(part: Part, stream: Stream, write: Write) -> Iterator[str]:
    """What becomes of rows that leave a filter over changes."""
    if part.fellow is not None and part.writes.leaving == "delete" and leaving(replace(stream, leaving=True), write):
        yield f"rows that leave a filter stay as they were: {part.fellow!r} writes the same target"
    found = leaving(stream, write)
    if isinstance(found, str):
        yield f"{found}; take a key that comes from the source as it is, or say `leaving: keep` in the sink"
    elif found is not None:
        yield f"{found.reason}, so rows travel in the columnar lane"


def _steps(part: Part) -> Iterator[str]:
    """What steps say of themselves."""
    for step in part.plan.steps:
        yield from (f"step {step.id!r} {note}" for note in step.operator.notes)


def _apart(part: Part, stream: Stream) -> Iterator[str]:
    """Where the branches of a pipeline may see a row differently."""
    divides = any(step.verb in ("route", "filter") for step in part.plan.steps)
    if divides and len(part.entry.all_sinks) > 1 and stream.mode is Mode.FULL and not stream.source.one_instant:
        yield (
            "each sink reads the source for itself: a row that is changed between two of these reads may reach several "
            "branches or none, until the next run"
        )


class Looking(Ends):
    """Ends that are opened once and only looked at: each system's catalogue is read once for all pipelines."""

    def __init__(self, ends: Ends, stack: ExitStack):
        self.__dict__.update(ends.__dict__)
        self._stack = stack
        self._ends: dict[str, End] = {}
        self._sources: dict[str, Source] = {}
        self._sinks: dict[str, Sink] = {}
        self._tables: dict[str, dict[str, Dataset] | None] = {}
        self._absent: dict[str, bool] = {}

    def end(self, place: str) -> End:
        """See Ends.end; the end gives the same source and sink each time."""
        if place not in self._ends:
            found = super().end(place)
            connector = replace(
                found.connector,
                source=(lambda _: self._source(place, found)) if found.connector.source else None,
                sink=(lambda _: self._sink(place, found)) if found.connector.sink else None,
            )
            self._ends[place] = replace(found, connector=connector)
        return self._ends[place]

    def keep(self, end: Kept) -> Kept:
        """Ends are closed when all pipelines were looked at."""
        return end

    def existing(self, end: End, target: str) -> Dataset | None:
        """The table as it is now; None if it is not there or cannot be looked at."""
        tables = self._catalogue(end)
        if tables is not None:
            return tables.get(target)
        try:
            return next(iter(end.source().datasets([target])), None)
        except TongquError:
            return None

    def missing(self, end: End) -> bool:
        """Whether the system itself is not there yet: a file that the first run makes."""
        if end.name not in self._absent:
            try:
                self._absent[end.name] = self._catalogue(end) is None and end.source().datasets(["_"]) is None
            except TongquError:
                self._absent[end.name] = True
        return self._absent[end.name]

    def told(self, error: TongquError) -> str:
        """An error in one line, without secrets."""
        return self._scrubber.text(error.message)

    def _catalogue(self, end: End) -> dict[str, Dataset] | None:
        """All tables of a SQL system by name; None for others, whose datasets cost a look into each."""
        if end.name not in self._tables:
            try:
                source = end.source()
                self._tables[end.name] = {d.name: d for d in source.datasets(None)} if source.dialect else None
            except TongquError:
                self._tables[end.name] = None
        return self._tables[end.name]

    def _source(self, place: str, found: End) -> Source:
        if place not in self._sources:
            self._sources[place] = _remembering(found.source())
            self._stack.callback(self._sources[place].close)
        return self._sources[place]

    def _sink(self, place: str, found: End) -> Sink:
        if place not in self._sinks:
            self._sinks[place] = found.sink()
            self._stack.callback(self._sinks[place].close)
        return self._sinks[place]


def _remembering(source: Source) -> Source:
    """The source, reading the catalogue of a SQL system once for all questions."""
    ask = source.datasets
    tables: dict[str, Dataset] = {}

    def datasets(patterns: Sequence[str] | None = None) -> list[Dataset]:
        if not tables:
            tables.update({dataset.name: dataset for dataset in ask(None)})
        if patterns is None:
            return list(tables.values())
        return [tables[name] for name in patterns] if set(patterns) <= tables.keys() else ask(patterns)

    if source.dialect:
        source.datasets = datasets  # type: ignore[method-assign]  # only the looking is shared, reading stays as it is
    return source
