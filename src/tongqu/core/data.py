"""What moves: datasets, batches, positions, splits, and the records that ask for reading and writing.

Types are Arrow's. Where Arrow lacks a type the values travel as strings and the field's metadata says what they are:
`tongqu.logical` is one of `uuid`, `json`, `decimal` (unbounded precision), `interval`, `xml`, `enum`, `text` (any
other type of the source, in its own text form). Meaning rides beside it: see `Meta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, cast

from tongqu.core.balance import StepCounts, added
from tongqu.core.dirty import Settled
from tongqu.core.lazy import Lazy, SchemaField
from tongqu.core.schema_changes import SchemaChange, SchemaChanges

if TYPE_CHECKING:
    import pyarrow as pa

Position = dict[str, Any]
"""Opaque JSON meaning "resume after these rows"."""


class Meta(StrEnum):
    """Keys of Arrow field metadata that travel from the source to the sink."""

    LOGICAL = "tongqu.logical"
    NATIVE = "tongqu.native"
    """The source's own type, prefixed by its system: `postgres:character varying(32)`."""
    TITLE = "tongqu.title"
    UNIT = "tongqu.unit"
    CLASS = "tongqu.class"
    OWNER = "tongqu.owner"
    MASK = "tongqu.mask"
    """How it is masked for those who may not see it: a word of `meaning.masks`."""
    GENERATED = "tongqu.generated"
    """`stored` or `virtual`: computed by the source, read as a plain value, not written into a generated column."""
    IDENTITY = "tongqu.identity"
    DEFAULT = "tongqu.default"


class Mode(StrEnum):
    """How a source is read."""

    FULL = "full"
    INCREMENTAL = "incremental"
    CDC = "cdc"
    STREAM = "stream"


class WriteMode(StrEnum):
    """How a sink is written."""

    APPEND = "append"
    UPSERT = "upsert"
    REPLACE = "replace"
    HISTORY = "history"


class Lane(StrEnum):
    """How rows travel: source SQL and raw bytes, Arrow through DuckDB, or a user's Python."""

    PASS = "pass"  # noqa: S105
    COLUMNAR = "columnar"
    PYTHON = "python"


class Deletes(StrEnum):
    """What a full read does to target rows that the source no longer has."""

    IGNORE = "ignore"
    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True)
class Index:
    """A secondary index or unique constraint."""

    columns: tuple[str, ...]
    unique: bool = False
    name: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """Columns that refer to another dataset's columns."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A table, topic, endpoint or file set with a schema.

    `name` is the remote name (`schema.table` where the system has schemas and it is not the default one); `key` and
    `cursor` name columns; `rows` is the system's own estimate or None.
    """

    name: str
    schema: SchemaField = SchemaField()  # noqa: RUF009  # a descriptor: reads as pa.Schema, takes it or Lazy
    key: tuple[str, ...] = ()
    cursor: str | None = None
    title: str = ""
    rows: int | None = None
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    unsupported: tuple[str, ...] = ()
    """Columns that cannot be read, with their types (`geom geometry`); reading the dataset is refused with them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in order."""
        lazy = self._lazy
        return lazy.names if lazy else tuple(self.schema.names)

    @property
    def _lazy(self) -> Lazy | None:
        value = self.__dict__["_schema"]
        return value if isinstance(value, Lazy) else None

    def types(self) -> tuple[str, ...]:
        """A text per column that changes when its type does: the source's own word for it where that is known."""
        lazy = self._lazy
        if lazy:
            return lazy.natives
        own = [(f.metadata or {}).get(Meta.NATIVE.value.encode(), b"").decode().partition(":")[2] for f in self.schema]
        return tuple(native or str(f.type) for native, f in zip(own, self.schema, strict=True))

    def natives(self, system: str) -> list[tuple[str, str, bool, str]] | None:
        """Name, type, whether it is required and title of each column in a system's own words; None if the schema is
        not known in them."""
        lazy = self._lazy
        if lazy is None or lazy.system != system:
            return None
        titles = lazy.titles or ("",) * len(lazy.names)
        return list(zip(lazy.names, lazy.natives, lazy.required, titles, strict=True))

    def nullable(self, column: str) -> bool:
        """Whether a column may hold nulls."""
        lazy = self._lazy
        return not lazy.required[lazy.names.index(column)] if lazy else self.schema.field(column).nullable

    def bound(self, name: str, key: tuple[str, ...]) -> Dataset:
        """The same dataset under another name and key, its schema still unmade."""
        values = {f: getattr(self, f) for f in self.__dataclass_fields__ if f not in ("schema", "name", "key")}
        return Dataset(name=name, key=key, schema=cast(Any, self.__dict__["_schema"]), **values)


@dataclass(frozen=True)
class Batch:
    """Some rows of a dataset, and the position after them; None if the read cannot be cut here."""

    dataset: str
    rows: pa.RecordBatch
    position: Position | None
    schema_version: int = 0
    kind: Literal["rows", "truncate", "schema", "heartbeat"] = "rows"
    ends_transaction: bool = True
    bad: Sequence[BadRow] = ()
    """Rows the source could not parse, between the previous position and this one: counted as read and quarantined."""
    counts: Counts | None = None
    """Numbers to add for work done inside the source, where it is a graph of steps."""


@dataclass(frozen=True)
class Split:
    """A part of a dataset that is read, written and checkpointed on its own.

    `spec` is the source's JSON (key bounds, file name); it is stored with the checkpoint, so a resumed run reads
    the same part.
    """

    id: str
    dataset: str
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Read:
    """What a source is asked to read. Grow this record, never the signature of `read`.

    After a batch with a position the read can be cut and resumed; a source that reads ranges in no order gives a
    position only to the last batch of each range of about `chunk_rows` rows. `until` is the position to stop at.
    """

    dataset: Dataset
    split: Split
    after: Position | None = None
    until: Position | None = None
    columns: tuple[str, ...] | None = None
    mode: Mode = Mode.FULL
    cursor: str | None = None
    ties: bool = True
    """Incremental: read rows whose cursor equals the position's again (they merge by key), so no late tie is lost."""
    batch_rows: int = 65_536
    chunk_rows: int = 250_000
    limit: int | None = None
    """The reader takes about so many rows and stops: calls ahead of them are wasted."""
    stop: Event = field(default_factory=Event)


@dataclass
class Bytes:
    """One chunk of rows as raw bytes in a named format, never decoded on the way.

    `chunks` yields blocks; after it is exhausted `rows()` is the number of rows in them and `read()` the number of
    rows the source looked at in the same snapshot and range (larger when a filter was pushed down). `position` is
    the position after these rows; `last` tells that the split ends here.
    """

    format: str
    columns: tuple[str, ...]
    chunks: Iterator[bytes | memoryview]
    rows: Callable[[], int]
    read: Callable[[], int]
    position: Position
    last: bool = False
    types: tuple[str, ...] = ()
    """The wire types of the columns in the format's own names (`postgres` type names for pgcopy)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the format leaves open (CSV delimiter, null text)."""


@dataclass
class Counts:
    """The truthful numbers of one stream (design §2.3): per step `in + generated = out + filtered + deduplicated +
    quarantined`, per sink `in = inserted + updated + deleted + unchanged + merged + quarantined`.
    """

    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    merged: int = 0
    filtered: int = 0
    deduplicated: int = 0
    generated: int = 0
    quarantined: int = 0
    repaired: int = 0
    """Cells that were changed by rule and whose originals are kept; no part of any balance."""
    discarded: int = 0
    """Values given up because the target's column is missing or does not hold them; no part of any balance."""
    bytes: int = 0
    steps: Mapping[str, StepCounts] = field(default_factory=dict)
    """The numbers of each step by its id, in order; never changed in place."""

    @property
    def written(self) -> int:
        """What reached the sink, quarantined rows not counted."""
        return self.inserted + self.updated + self.deleted + self.unchanged + self.merged

    def add(self, other: Counts) -> None:
        """Add the other's numbers to these."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.steps = added(self.steps, other.steps.values())

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for the checkpoint; `steps` only where there are some."""
        steps = [step.to_json() for step in self.steps.values()]
        return {name: getattr(self, name) for name in _NUMBERS} | ({"steps": steps} if steps else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Counts:
        """The opposite of `to_json`; unknown names of a newer version are ignored, older ones had no `steps`."""
        known = {name: int(number) for name, number in (values or {}).items() if name in _NUMBERS}
        steps = [StepCounts.from_json(step) for step in (values or {}).get("steps", ())]
        return cls(**known, steps={step.step: step for step in steps})


_NUMBERS = tuple(name for name in Counts.__dataclass_fields__ if name != "steps")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A quarantined row: typed cause, where, and the original."""

    step: str
    code: str
    field: str
    value: str | None
    original: str
    """The whole row as JSON, in the shape it had before the step that refused it."""
    message: str
    state: str = "new"
    """`new`: the row was refused and is missing in the target; `repaired`: one of its cells was changed by rule and the
    row went on, this record keeps what it was."""
    shape: str = ""
    """The schema of `original` as text (`kit.originals`), so that the row can go in again with every value exact."""

    @property
    def refused(self) -> bool:
        """Whether the row itself was taken out."""
        return self.state != "repaired"


@dataclass
class Written:
    """What a sink did with one batch: the rows that went in are the sum of all numbers and the refused."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    merged: int = 0
    discarded: int = 0
    """As `Counts.discarded`."""
    bytes: int = 0
    refused: list[BadRow] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """What is committed with the data of a split: where it stands and what was counted so far."""

    split: Split
    position: Position | None
    counts: Counts
    done: bool = False
    quarantine: Sequence[BadRow] = ()
    """Rows that steps before the sink refused in this chunk; stored in the same transaction."""
    settled: Sequence[Settled] = ()
    """What became of quarantined rows that went in again with this chunk; noted in the same transaction."""
    relaxed: bool = False
    """Whether the commit need not wait for the disk: it is durable with the next one that is not relaxed, and if the
    sink's server crashes before, it may be undone, with all that came after it."""


@dataclass(frozen=True)
class Write:
    """What a sink is asked to write for one stream.

    `sync` identifies source, target, tables, mode, write, key and cursor: the same sync resumes. `dataset` has the
    target's name and the schema that arrives. `unique` promises that no two rows of one chunk share the key.
    """

    stream: str
    dataset: Dataset
    mode: WriteMode
    sync: str
    run: str
    key: tuple[str, ...] = ()
    deletes: Deletes = Deletes.IGNORE
    restart: bool = False
    incremental: bool = False
    """Rows are changes since the last run; a full write of upsert or history goes through a staged generation."""
    unique: bool = False
    resumable: bool = True
    """Chunks of the run can be resumed; if not, rows wait in a staged generation until all have come."""
    recipe: str = ""
    """A text that changes when the steps before the sink do; a staged run under another recipe begins anew."""
    indexes: bool = True
    schema_changes: SchemaChanges = SchemaChanges.EVOLVE
    """What happens when other columns, types or another key arrive than the last time."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Fields that the dictionary says were renamed: new name → old name."""
    started_at: str = ""
    """RFC 3339 instant used for SCD2 validity and for the ledger."""
    cursor: str | None = None
    """The column that grows with every change, if the stream is incremental."""
    follows: bool = False
    """Rows are changes of a log that does not end: a stream that was finished goes on in the same run, and rows of its
    quarantine may go in while it runs."""
    replay: bool = False
    """Quarantined rows go in again, or a repair's: never over a row that is newer by the cursor, nor while a run writes
    the target."""


@dataclass(frozen=True)
class Opened:
    """What a sink knows about a stream when it has been opened.

    `checkpoints` by split id are those of the unfinished run. `previous` is the position the last finished run left,
    for incremental reads. `finished` tells that this very run finished the stream in an earlier attempt, with `counts`.
    """

    fence: int
    checkpoints: Mapping[str, Checkpoint]
    previous: Position | None = None
    finished: bool = False
    counts: Counts = field(default_factory=Counts)
    changes: tuple[SchemaChange, ...] = ()
    """How the arriving schema differs from the last one, and what is done about it."""


@dataclass(frozen=True)
class Started:
    """The run that goes on or begins."""

    run: str
    attempt: int = 1
