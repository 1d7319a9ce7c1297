"""What the engine is asked to run: streams, each from one source dataset (or one step graph) to one sink dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from threading import Event
from typing import TYPE_CHECKING

from tongqu.core.connector import Sink, Source
from tongqu.core.data import Counts, Dataset, Deletes, Lane, Mode, WriteMode
from tongqu.core.errors import TongquError
from tongqu.core.schema_changes import SchemaChanges

if TYPE_CHECKING:
    from tongqu.engine.chain import Chain
    from tongqu.engine.governing import Valve
    from tongqu.engine.lending import Elsewhere
    from tongqu.meaning.dataset_rules import Verdict


@dataclass(frozen=True)
class Limits:
    """Bounds of one job. A full read commits every `chunk_rows` rows; `splits` None = chosen from size and cores."""

    chunk_rows: int = 250_000
    batch_rows: int = 65_536
    splits: int | None = None
    streams: int = 4
    memory_mb: int = 512
    """DuckDB's `memory_limit` for joins, sorts and aggregates; beyond it they spill."""
    quarantined: int | None = None
    """More quarantined rows than this stop the run."""
    quarantined_share: float | None = None
    """A larger share of the rows read than this (0..1) stops the run."""
    retries: int = 8
    retry_seconds: float = 60.0


@dataclass(frozen=True)
class Stream:
    """One dataset on its way. `source_dataset` is what the source discovered; `target` is the sink's dataset name.

    `chain` holds the steps between them (None: rows go as they are). `key` overrides the source's key.
    """

    name: str
    source: Source
    source_dataset: Dataset
    sink: Sink
    target: str
    mode: Mode
    write: WriteMode
    sync: str
    key: tuple[str, ...] = ()
    cursor: str | None = None
    deletes: Deletes = Deletes.IGNORE
    lane: Lane | None = None
    chain: Chain | None = None
    schema_changes: SchemaChanges = SchemaChanges.EVOLVE
    """What the sink does when other columns, types or another key arrive than the last time."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Fields that the dictionary says were renamed: new name → old name."""
    judge: Callable[[Counts], Sequence[Verdict]] | None = None
    """What does not hold of all its rows together, asked when they have come."""
    recipe: str = ""
    """A text that changes when the steps inside the source do, where it is a graph of steps."""
    leaving: bool = True
    """Whether a changed row that steps leave out now is taken out of a target that is written by key."""
    identity: tuple[str, ...] = ()
    """Columns that the author says identify a row of the source; empty: its key does."""
    read_from: str = ""
    """The connection that is read instead of the one that is named, where that is in trouble."""
    valves: Sequence[Valve] = ()
    """The budgets of its connections that have one."""
    graph: Source | None = None
    """The whole graph of sources and steps where the chain looks something up; told for lineage, never read."""


@dataclass(frozen=True)
class Job:
    """All streams of one run, in the order in which they may start (foreign keys first)."""

    streams: Sequence[Stream]
    restart: bool = False
    limits: Limits = field(default_factory=Limits)
    until_caught_up: bool = False
    """Streams that follow a log end when they have come to where its end was when they began."""
    run: str | None = None
    """The id of a new run; a resumed run keeps its own."""
    shared: bool = False
    """Other processes run the same job at the same time, and each follows its share of the log."""
    elsewhere: Elsewhere | None = None
    """Other processes that move splits of big loads; None: this one does it all."""
    absent: Mapping[str, TongquError] = field(default_factory=dict)
    """Streams that would follow a log and cannot be planned now, by name, and why: the others go on without them."""
    reload: Sequence[str] = ()
    """Streams that follow a log of changes and whose dataset is read anew, by globs of its name or theirs."""

    def reloads(self, stream: Stream) -> bool:
        """Whether the stream's dataset is to be read anew."""
        names = (stream.name, stream.source_dataset.name)
        return any(fnmatchcase(name, glob) for name in names for glob in self.reload)


@dataclass(frozen=True)
class Surroundings:
    """Clock, ids and stopping come as arguments."""

    now: Callable[[], datetime]
    new_id: Callable[[], str]
    stop: Event
    wait: Callable[[float], bool]
    """Wait that many seconds; true if stopping was asked for meanwhile."""
