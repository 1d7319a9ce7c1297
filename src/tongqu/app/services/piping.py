"""Pipelines of a project, one part for each sink: names looked up, ends opened, streams planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from tongqu.app.project.leaving import fellow
from tongqu.app.project.limits import limits
from tongqu.app.project.load import Project
from tongqu.app.project.meaning import described
from tongqu.app.project.model import DatasetEntry, PipelineEntry, PipelineSink
from tongqu.app.project.pipelines import narrowed, shape, steps_of
from tongqu.app.project.places import Places, nearest
from tongqu.app.services.apart import check_pipeline
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.execution import Runner
from tongqu.app.services.following import FOLLOWING, check_following
from tongqu.app.services.graph_source import GraphSource, graph_of
from tongqu.app.services.judging import judge
from tongqu.app.services.kept_logs import note_log
from tongqu.app.services.mirroring import check_told, mirrored, sides_of, with_mirrors
from tongqu.app.services.referring import knowing
from tongqu.app.services.stating import check_written, state_source
from tongqu.app.services.sync_identity import absent, digest, patterns, streams_of
from tongqu.app.services.unlocking import guarding, unlocked
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Dataset, Deletes, Mode, WriteMode
from tongqu.core.errors import InvalidPlanError, NotFoundError, UnknownNameError, learnt
from tongqu.core.plan import Plan, Trunk, check_changes, check_keeps, trunk
from tongqu.core.schema_changes import SchemaChanges
from tongqu.engine.compile import check_deletes, cursor_of, default_write
from tongqu.engine.job import Job, Stream

if TYPE_CHECKING:
    from tongqu.engine.chain import Chain
    from tongqu.engine.sides import Side


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `run`."""

    pipelines: Sequence[str]
    full: bool = False
    restart: bool = False
    reload: Sequence[str] = ()
    """Globs of tables that are read anew where a change log is followed."""
    until_caught_up: bool = False
    """Pipelines that follow a log end when they have come to where its end was."""
    command: str = "run"
    version: int = 0
    """The applied version that the project's files are, 0 for none."""
    hash: str = ""
    """A digest of the project's files."""
    window: str = ""
    """The stretch of a cursor that is filled in: what such runs know of their progress is theirs alone."""


@dataclass(frozen=True)
class Part:
    """One sink of one pipeline, with everything looked up that needs no connection."""

    name: str
    sink_name: str
    entry: PipelineEntry
    plan: Plan
    ends: Mapping[str, End]
    """The end of each source."""
    sink: End
    meanings: Mapping[str, DatasetEntry | None]
    places: Places
    full: bool
    restart: bool
    until_caught_up: bool = False
    window: str = ""
    dictionary: Mapping[str, DatasetEntry] = field(default_factory=dict)
    referred: Mapping[str, End] = field(default_factory=dict)
    """The connections that rules refer to."""
    fellow: str | None = None
    """Who else writes the same target."""
    together: dict[str, Source] | None = field(default=None, compare=False)
    """Sources that all sinks read at one instant, by name, once they are open; None: each sink opens its own."""
    stop: Event = field(default_factory=Event, compare=False)
    """Set when the run shall stop: what steps look up is read no further."""
    reload: Sequence[str] = ()
    """Globs of tables that are read anew."""
    lent: bool = False
    """Whether it is a worker's, of another process's run: nothing is followed in it."""

    @property
    def writes(self) -> PipelineSink:
        """The sink's settings."""
        return self.entry.all_sinks[self.sink_name]

    @property
    def stream(self) -> str:
        """The stream's name: the pipeline's, with the sink's where there are several."""
        return self.name if len(self.entry.all_sinks) == 1 else f"{self.name}.{self.sink_name}"

    @property
    def connections(self) -> list[str]:
        """The ends that rows pass through."""
        return sorted({self.sink.name, *(end.name for end in self.ends.values())})

    @property
    def whole(self) -> bool:
        """Whether the steps to this sink need all rows at once."""
        return trunk(self.plan) is None

    @property
    def stateful(self) -> bool:
        """Whether logs are followed through steps that need more than the row at hand, and keep state for it."""
        return self.whole and all(mode in FOLLOWING for mode in self.modes.values())

    def check_modes(self) -> None:
        """Raise InvalidPlanError where steps need all rows and a source gives only changes."""
        check_told(self.plan, self.ends)
        beside = mirrored(self.plan, self.modes)
        changing = [name for name in self.ends if self.mode(name) is not Mode.FULL and name not in beside]
        if self.stateful:
            check_keeps(self.plan)
        else:
            check_changes(self.plan, changing, appends=self.writes.write_mode is WriteMode.APPEND)
        check_following(self.ends, self.modes, self.entry, self.places.path(("pipelines", self.name)))
        if changing and self.whole and not self.stateful:
            raise InvalidPlanError(
                f"{changing[0]!r} gives only changes, and this pipeline brings rows of several inputs together",
                path=self.places.path(("pipelines", self.name)),
                hint="read it with `mode: full`, or run it with --full",
            )

    @property
    def modes(self) -> dict[str, Mode]:
        """How each source is read."""
        return {name: self.mode(name) for name in self.ends}

    def mode(self, source: str) -> Mode:
        """How a source is read."""
        return Mode.FULL if self.full else self.entry.all_sources[source].read_mode

    def job(self, runner: Runner, run: str) -> Job:
        """Connect and plan."""
        streams = replace(self, stop=runner.around.stop).streams(runner.keep)
        streams = [
            replace(s, judge=judge(self.plan.steps, s.name, runner.finished, runner.around.now)) for s in streams
        ]
        identity = self._identity(streams)
        self._note(identity)
        return Job(
            [replace(stream, sync=identity) for stream in streams],
            restart=self.restart,
            reload=self.reload,
            absent=absent(self.stream, self.entry, self.modes, streams),
            limits=limits(self.entry),
            until_caught_up=self.until_caught_up,
            run=run,
        )

    def streams(self, keep: Callable[[Any], Any]) -> list[Stream]:
        """Connect and plan; `keep` is given every end that is opened."""
        knows = replace(self, plan=knowing(self.plan, self.referred), referred={})
        return knows._streams(keep)

    def _streams(self, keep: Callable[[Any], Any]) -> list[Stream]:
        sources: dict[str, Source] = {name: self._opened(name, keep) for name in self.ends}
        sink: Sink = keep(self.sink.sink())
        sink.prepare()
        along = trunk(self.plan)
        with learnt():
            found = {name: self._datasets(name, source) for name, source in sources.items()}
            if along is None:
                made = partial(self._kept, keep) if self.stateful else self._graph
                streams = [made(sources, {name: several[0] for name, several in found.items()}, sink)]
            else:
                first, sides = along.source, sides_of(self, along, sources, found)
                sides = with_mirrors(self, sides, sources, found, keep)
                chains = {d.name: self._steps(along, self._moving(first, d), sides) for d in found[first]}
                streams = [self._chain(first, d, sources[first], sink, chains) for d in found[first]]
                if sides:
                    graph = graph_of(self.plan, {name: several[0] for name, several in found.items()})
                    streams = [replace(s, graph=GraphSource(graph, sources, self.sink_name)) for s in streams]
        check_pipeline(streams, self.writes.write_mode, self.ends.values(), self.sink)
        return streams

    def _opened(self, name: str, keep: Callable[[Any], Any]) -> Source:
        """A source, the same for all sinks of the pipeline where that makes them see the same rows."""
        together = self.together if self.together is not None else {}
        if name in together:
            return together[name]
        source = self.ends[name].source()
        if self.together is None or not source.one_instant:
            kept: Source = keep(source)
            return kept
        together[name] = source
        return source

    def _datasets(self, name: str, source: Source) -> list[Dataset]:
        reads = self.entry.all_sources[name]
        wanted = [pattern for pattern in patterns(reads) if not pattern.startswith("!")]
        refused = [pattern[1:] for pattern in patterns(reads) if pattern.startswith("!")]
        found = [
            described(dataset, self.meanings[name])
            for dataset in source.datasets(wanted or None)
            if not any(fnmatchcase(dataset.name, pattern) for pattern in refused)
        ]
        where = ("source",) if self.entry.source else ("sources", name)
        path = self.places.path(("pipelines", self.name, *where))
        if not found:
            raise NotFoundError(
                f"{self.ends[name].name} has no dataset {', '.join(wanted)}",
                path=path,
                hint=nearest(wanted[0], [dataset.name for dataset in source.datasets(None)]),
                params={"name": ", ".join(wanted)},
            )
        if len(found) > 1 and (self.writes.dataset or len(self.ends) > 1):
            raise InvalidPlanError(
                f"{len(found)} datasets match where there can be one: {', '.join(d.name for d in found[:5])}",
                path=path,
                hint="name one dataset; or, with one source, leave `dataset` of the sink out: each keeps its name",
            )
        return found

    def again(self, plan: Plan, entry: str, dataset: Dataset, keep: Callable[[Any], Any]) -> Chain | None:
        """The steps of a plan over rows that enter it at the source `entry`; None where there are none.

        Raises InvalidPlanError if the rows would branch or meet others.
        """
        along = trunk(plan)
        if along is None:
            raise InvalidPlanError(
                "the rows would branch or meet others in the steps that are left",
                path=self.places.path(("pipelines", self.name)),
                hint="mend the source or the rule, and run the pipeline again: it reads these rows anew",
            )
        sources: dict[str, Source] = {n: keep(self.ends[n].source()) for n in plan.sources if n != entry}
        with learnt():
            found = {name: self._datasets(name, source) for name, source in sources.items()}
            part = replace(self, plan=plan, restart=False)
            sides = with_mirrors(part, sides_of(part, along, sources, found), sources, found, keep)
            return part._steps(along, dataset, sides)

    def _moving(self, name: str, dataset: Dataset) -> Dataset:
        """The dataset with its cursor, which steps may rename."""
        if self.mode(name) is not Mode.INCREMENTAL or not self.plan.steps:
            return dataset
        return replace(dataset, cursor=self.entry.all_sources[name].cursor or dataset.cursor)

    def _steps(self, along: Trunk, dataset: Dataset, sides: Mapping[str, Side]) -> Chain | None:
        if not along.steps:
            return None
        from tongqu.engine.chain import Chain

        memory = limits(self.entry).memory_mb // 2 if sides else 256
        return Chain(dataset, along.steps, memory_mb=memory, sides=sides)

    def _chain(
        self, name: str, dataset: Dataset, source: Source, sink: Sink, chains: Mapping[str, Chain | None]
    ) -> Stream:
        reads, mode, single = self.entry.all_sources[name], self.mode(name), len(chains) == 1
        alone = single if mode is not Mode.CDC else bool(reads.dataset)  # of tables that are followed some may go
        cursor = cursor_of(dataset, mode, reads.cursor, tracks=source.tracks)
        chain = chains[dataset.name]
        target = self.writes.dataset or (reads.as_ if single and reads.as_ else dataset.name)
        stream = self._stream(chain.output if chain else dataset, source, sink, target=target, mode=mode)
        return replace(
            stream,
            name=self.stream if alone else f"{self.stream}.{dataset.name}",
            source_dataset=dataset,
            cursor=cursor,
            chain=chain,
            identity=tuple(name for name in reads.key if name in dataset.columns),
        )

    def _graph(self, sources: Mapping[str, Source], datasets: Mapping[str, Dataset], sink: Sink) -> Stream:
        memory = limits(self.entry).memory_mb
        graph = graph_of(self.plan, datasets, threads=min(4, os.cpu_count() or 1), memory_mb=memory)
        source = GraphSource(graph, sources, self.sink_name)
        target = self.writes.dataset or self.stream
        return replace(self._stream(source.dataset, source, sink, target=target, mode=Mode.FULL), recipe=graph.recipe)

    def _kept(
        self, keep: Callable[[Any], Any], sources: Mapping[str, Source], datasets: Mapping[str, Dataset], sink: Sink
    ) -> Stream:
        """Steps that keep state, as one source whose log is followed."""
        graph = graph_of(self.plan, datasets)
        home = self.sink.lodging
        source = keep(state_source(graph, sources, self.modes, entry=self.entry, name=self.stream, home=home))
        stream = self._stream(source.dataset, source, sink, target=self.writes.dataset or self.stream, mode=Mode.CDC)
        check_written(source.dataset, self.writes.key, self.places.path(("pipelines", self.name)))
        shown = Mode.CDC if Mode.CDC in self.modes.values() else Mode.STREAM
        told = GraphSource(graph, sources, self.sink_name)
        return replace(stream, key=source.dataset.key, mode=shown, recipe=graph.recipe, graph=told)

    def _stream(self, given: Dataset, source: Source, sink: Sink, *, target: str, mode: Mode) -> Stream:
        key = self._key(given)
        write = self.writes.write_mode or default_write(mode, key)
        usual = Deletes.HARD if mode is Mode.CDC and key and write is not WriteMode.APPEND else Deletes.IGNORE
        deletes = self.writes.delete_mode or usual
        check_deletes(write, deletes, f"pipelines.{self.name}.sink.deletes")
        return Stream(
            name=self.stream,
            source=source,
            source_dataset=given,
            sink=sink,
            target=target,
            mode=mode,
            write=write,
            sync="",
            key=key,
            deletes=deletes,
            lane=self.entry.forced_lane,
            leaving=self.writes.leaving == "delete" and self.fellow is None,
            **self._tolerance(target),
        )

    def _tolerance(self, target: str) -> dict[str, Any]:
        """What the dictionary says about schema changes: the target's entry, or that of the only source."""
        meaning = next(iter(self.meanings.values())) if len(self.meanings) == 1 else None
        entry = self.dictionary.get(target) or meaning
        if entry is None:
            return {}
        return {"schema_changes": SchemaChanges(entry.schema_changes), "renamed": entry.renamed}

    def _key(self, given: Dataset) -> tuple[str, ...]:
        where = ("sink",) if self.entry.sink else ("sinks", self.sink_name)
        declared = tuple(self.writes.key) or (tuple(self.entry.source.key) if self.entry.source else ())
        for column in declared:
            if column not in given.columns:
                raise UnknownNameError(
                    f"the key column {column!r} does not arrive at the sink",
                    path=self.places.path(("pipelines", self.name, *where, "key")),
                    hint=nearest(column, list(given.columns)),
                    params={"name": column},
                )
        if declared:
            return declared
        meaning = next(iter(self.meanings.values())) if len(self.meanings) == 1 else None
        known = meaning.keys if meaning else ()
        return tuple(known) if known and set(known) <= set(given.columns) else given.key

    def _note(self, identity: str) -> None:
        """Note which log the system will keep for this part."""
        beside = () if self.stateful else mirrored(self.plan, self.modes)
        for name, end in self.ends.items():
            if self.mode(name) is Mode.CDC and name not in beside and not self.stateful:
                note_log(end, f"tongqu_{identity[:16]}", self.name)

    def _identity(self, streams: Sequence[Stream]) -> str:
        told: dict[str, Any] = {
            "pipeline": self.name,
            "sources": {name: end.identity for name, end in self.ends.items()},
            "sink": [self.sink_name, self.sink.identity],
            "streams": streams_of(list(self.entry.all_sources.values()), streams, self.writes.key),
        } | ({"window": self.window} if self.window else {})
        return digest(told)


def parts(name: str, request: RunRequest, project: Project, ends: Ends) -> list[Part]:
    """A pipeline's sinks, each with what it takes; all names and references are looked up, nothing is connected to."""
    entry = project.pipeline(name)
    steps = [unlocked(step, ends) for step in steps_of(entry, name, project.entries, project.places)]
    whole = guarding(shape(entry, name, steps), entry, project, ends)
    opened = {source: ends.end(reads.connection) for source, reads in entry.all_sources.items()}
    meanings = {
        source: project.dictionary.get(reads.as_ or reads.dataset or "") for source, reads in entry.all_sources.items()
    }
    used = [reference for step in steps for reference in step.operator.references.values()]
    referred = {reference.connection: ends.end(reference.connection) for reference in used}
    found = [
        Part(
            name=name,
            sink_name=sink,
            entry=entry,
            plan=narrowed(whole, sink),
            ends={source: opened[source] for source in narrowed(whole, sink).sources},
            sink=ends.end(writes.connection),
            meanings=meanings,
            places=project.places,
            full=request.full,
            restart=request.restart,
            reload=request.reload,
            window=request.window,
            until_caught_up=request.until_caught_up,
            referred=referred,
            dictionary=project.dictionary,
            fellow=fellow(project.pipelines, name, sink),
        )
        for sink, writes in entry.all_sinks.items()
    ]
    for part in found:
        part.check_modes()
    return found
