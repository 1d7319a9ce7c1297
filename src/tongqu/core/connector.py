"""The seam to the outside: what a source and a sink promise, and how a connector presents itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING, Any

from tongqu.core.data import (
    BadRow,
    Batch,
    Bytes,
    Checkpoint,
    Counts,
    Dataset,
    Opened,
    Position,
    Read,
    Split,
    Started,
    Write,
    WriteMode,
    Written,
)
from tongqu.core.dirty import Dirty, Fix
from tongqu.core.errors import InvalidPlanError, TongquError
from tongqu.core.select import Select
from tongqu.core.settings import Settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from tongqu.core.compare import Comparable, Comparison
    from tongqu.core.log import Log
    from tongqu.core.scan import Scan
    from tongqu.core.server import Server


class Can(Flag):
    """What a connector is able to do; conformance tests are switched on by these."""

    READ = auto()
    WRITE = auto()
    RESUME = auto()
    """A full read goes on after any batch's position."""
    SPLITS = auto()
    SNAPSHOT = auto()
    """All splits of one read see the same instant."""
    INCREMENTAL = auto()
    HORIZON = auto()
    """Incremental reads stop below rows of transactions that are still open."""
    TRACKS = auto()
    """Incremental reads need no cursor column: the source itself knows what is new."""
    CURSORS = auto()
    """A dataset's settings may declare the cursor of its incremental reads, so that none needs to be given."""
    COPY_OUT = auto()
    COPY_IN = auto()
    PUSH = auto()
    """Steps can be compiled into the source's own SQL."""
    APPEND = auto()
    UPSERT = auto()
    REPLACE = auto()
    HISTORY = auto()
    TRANSACTIONS = auto()
    """Data, quarantine, counts and checkpoint commit together."""
    EVOLVES = auto()
    """New columns are added to an existing target."""
    ONE_WRITER = auto()
    """Only one session writes at a time (DuckDB, SQLite, files)."""
    CDC = auto()
    """Its change log can be followed (`Source.log`)."""
    STREAM = auto()
    """Its datasets are logs of messages that can be followed (`Source.log`)."""
    SERVES = auto()


class Source(ABC):
    """Reads datasets. Blocking; the engine owns the threads, and each split is read by one thread."""

    formats: tuple[str, ...] = ()
    """Formats `copy_out` can give, best first."""
    dialect: str = ""
    """sqlglot's name of the SQL that `Select` must be written in; empty if nothing can be pushed down."""
    resumable: bool = True
    """Whether a full read of a dataset can go on after a position; asked per dataset by `can_resume`."""
    one_instant: bool = False
    """Whether all full reads of one source object see the same instant, one after the other too."""
    tracks: bool = False
    """Whether incremental reads need no cursor column; `horizon` is then asked with an empty one."""
    learns: bool = False
    """Whether the end of an incremental read is known only when it has been read: `horizon` gives where it begins, and
    the position of its last batch is what the next run starts after."""
    apart: bool = False
    """Whether changes of its datasets have no order among each other, so that each is followed by a log of its own."""
    notices: Mapping[str, TongquError] = {}
    """By dataset why a read that succeeded needs attention (all was read again, say): warnings of the run."""

    def lodge(self, folder: Path) -> None:
        """A private folder in the project's home, which need not exist, for what the system itself cannot hold: the
        ledger of calls, caches, recordings. Told once, before anything else is asked; creates nothing by itself."""
        del folder

    @abstractmethod
    def check(self) -> Iterator[str]:
        """Test stage by stage (dns, tcp, tls, login, privilege, sample), yielding each stage that passed; raises."""

    @abstractmethod
    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """Datasets whose names match any glob (`schema.table` or `table`; None = all), never `_tongqu_*`."""

    def can_resume(self, dataset: Dataset) -> bool:
        """Whether a full read of this dataset can be cut and go on (for SQL: it has a key)."""
        return self.resumable and bool(dataset.key)

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """Cut the dataset into at most `wanted` parts; together they are all of it, none overlaps."""
        del wanted
        return [Split("0", dataset.name)]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """The fixed upper end of an incremental read that starts now: no row below it can still appear, nor one equal
        to it unless `ties` says that equal rows will be read again. Never before `after`. None means that there is
        nothing to read. Raises SchemaError if rows have no cursor."""
        raise NotImplementedError(f"{type(self).__name__} is not incremental: {dataset.name} {cursor} {after} {ties}")

    @abstractmethod
    def read(self, read: Read) -> Iterator[Batch]:
        """Batches after `read.after`, each with the position after it; ends within 5 s of `read.stop`."""

    def wire_types(self, dataset: Dataset, select: Select) -> list[str]:
        """The source's own type names of the columns that `copy_out` would give for `select`, before any cast."""
        raise NotImplementedError(f"{type(self).__name__} gives no bytes: {dataset.name} {len(select.columns)}")

    def copy_out(self, read: Read, select: Select, format: str) -> Iterator[Bytes]:
        """The same rows as `read`, as chunks of raw bytes; each chunk must be consumed before the next is asked for."""
        raise NotImplementedError(f"{type(self).__name__} gives no bytes ({format})")

    def comparing(self, dataset: Dataset, comparison: Comparison, condition: str = "") -> Comparable | None:
        """This side of a comparison, computed inside the system; None if it must be read to be compared.

        `condition` is the comparison's `where` in the system's own SQL. Keeps working after `close` of the source.
        """
        del dataset, comparison, condition
        return None

    def scan(self, dataset: Dataset) -> AbstractContextManager[Scan] | None:
        """The dataset where DuckDB can read it by itself; None if it must be read batch by batch."""
        del dataset
        return None

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """The change or message log that these datasets have in common, followed under a stable name of letters,
        digits and `_` (for what the system keeps for us: slots, groups). Creates nothing by itself."""
        raise InvalidPlanError(
            f"{type(self).__name__} has no log that could be followed as {name} for {len(datasets)} datasets",
            hint="use --mode full or incremental",
        )

    def acknowledge(self, split: Split, position: Position) -> None:
        """Everything up to `position` is committed in every sink; durable too, unless the rows are staged."""

    def finished(self, dataset: Dataset, position: Position | None) -> None:
        """A whole run of the dataset is durable and visible in the sink; `position` is what `horizon` gave for it. Not
        told after a crash between the two: what must not be missed is done again by the next `horizon`."""

    def close(self) -> None:
        """Release connections; may be called twice."""


class Session(ABC):
    """One split's way into a sink: its own connection and transaction."""

    @abstractmethod
    def write(self, rows: pa.Table) -> Written:
        """Write rows into the open transaction. Rows the target refuses are found by bisection and returned in
        `refused`; they do not fail the others."""

    def insert(self, rows: pa.Table) -> Written:
        """As `write`, faster where the target lacks all of their keys, which is very probable."""
        return self.write(rows)

    def copy_in(self, data: Bytes) -> Written:
        """Write a chunk of raw bytes into the open transaction; raises RefusedRowsError if the target refuses any."""
        raise NotImplementedError(f"{type(self).__name__} takes no bytes ({data.format})")

    def remove(self, rows: pa.Table) -> int:
        """Take the target's rows that have the keys of these rows (an upsert's or a history's; other columns may be
        missing) out in the open transaction: they are deleted, marked where the write asks for soft deletes, or their
        current version is ended. Returns how many. Raises InvalidPlanError where single rows cannot be deleted."""
        del rows
        raise InvalidPlanError(f"{type(self).__name__} cannot delete single rows", hint="use sync --write replace")

    def amend(self, rows: pa.Table) -> int:
        """Change the target's rows that have the keys of these rows in the columns that these rows have, and in no
        others. Each key comes once. Returns how many rows were there. Raises InvalidPlanError where it cannot be."""
        raise InvalidPlanError(
            f"{type(self).__name__} cannot change single columns of {rows.num_rows} rows",
            hint="let the source's log send whole rows (PostgreSQL: REPLICA IDENTITY FULL)",
        )

    def clear(self) -> int:
        """Take all rows out of the target in the open transaction, as the source's table was emptied: they are deleted,
        marked, or their current versions are ended. Returns how many. Raises InvalidPlanError where it cannot be."""
        raise InvalidPlanError(f"{type(self).__name__} cannot empty its target", hint="sync it again in full")

    def dated(self, instant: str) -> None:
        """Versions of a history that are written from here on begin, or end, at this RFC 3339 instant instead of the
        one at which the run began. Instants never go back."""
        del instant

    def set_aside(self, rows: Sequence[BadRow], counts: Counts) -> bool:
        """Store rows that steps refused in the open transaction already, so that they need not wait in memory for
        `commit`; `counts` are the split's so far, these rows among them. False if they must wait."""
        del rows, counts
        return False

    @abstractmethod
    def commit(self, checkpoint: Checkpoint) -> None:
        """Commit data, quarantine, counts and position together. Raises FencedError if another process took over,
        ConnectError if the outcome is unknown."""

    @abstractmethod
    def abort(self) -> None:
        """Undo what is not committed; never raises for a broken connection."""

    @abstractmethod
    def close(self) -> None:
        """Abort and release the connection; may be called twice."""


class Sink(ABC):
    """Writes streams: `start` the run; per stream `open`, `begin`, a session per split, `finish`; then `end`."""

    formats: tuple[str, ...] = ()
    """Formats `Session.copy_in` takes."""
    parallel: bool = True
    """Whether several sessions may write at the same time."""
    relaxes: bool = False
    """Whether a commit that is `relaxed` may be lost with the sink's server."""

    def lodge(self, folder: Path) -> None:
        """As `Source.lodge`: the ledger of calls, caches, recordings. Told once, before anything else is asked."""

    @abstractmethod
    def check(self) -> Iterator[str]:
        """As `Source.check`, with the right to create and write tables as last stage."""

    def prepare(self) -> None:
        """Begin what takes a while, such as connecting, in the background: `start` will follow. Raises nothing; what
        goes wrong is raised by the call that needs it."""

    @abstractmethod
    def start(self, sync: str, run: str, restart: bool) -> Started:
        """Find an unfinished run of this sync (it keeps its id, its attempt grows) or record a new one with id `run`.

        `restart` discards an unfinished run and the positions that earlier runs left.
        """

    @abstractmethod
    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """All streams are finished: create what needs all of them (foreign keys) and mark the run finished."""

    @abstractmethod
    def open(self, write: Write) -> Opened:
        """Take the fence, find an unfinished run or begin one, and prepare the place the rows go to.

        Never empties or changes visible rows of an existing target.
        """

    def accepts(self, write: Write, format: str, types: Sequence[str]) -> Sequence[str | None]:
        """For each column in a raw format with the source's wire type: the type the source must cast to so that the
        bytes fit, the same type if they fit as they are, or None if they cannot be made to fit."""
        del write, format
        return [None] * len(types)

    @abstractmethod
    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """Store the splits of a new run before its first row; replaces the splits of a run that had none committed."""

    @abstractmethod
    def session(self, write: Write, split: Split) -> Session:
        """A session for one split of an opened stream."""

    @abstractmethod
    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """Make the stream's rows visible (swap or merge the staged generation), build keys and indexes, mark the
        stream finished with its counts and the position that the next incremental run starts after.

        Idempotent: after a crash in it, calling again completes it. The result replaces what the sessions returned
        when the rows were staged; otherwise it is all zeros. `deleted` are rows removed by delete detection.
        """

    def reopen(self, write: Write) -> Opened:
        """Read the stored state after a lost connection, keeping our fence; raises FencedError if it is not ours."""
        raise NotImplementedError(type(self).__name__)

    def undo(self, dataset: str) -> int:
        """Put the generation that the last `replace` of a table replaced back in place, and return its row count.

        Readers see the one generation or the other, also after a crash. The rows that were visible become the kept
        generation, so a second undo undoes the first. The shape of the table comes back with the rows, except where
        the table must keep its identity (views, foreign keys, triggers): then its rows are refilled and columns are
        only added. Raises NotFoundError if no generation is kept, BusyError if an unfinished run writes the table,
        InvalidPlanError if this sink cannot.
        """
        raise InvalidPlanError(f"{type(self).__name__} keeps no generation of {dataset!r} that could be put back")

    def quarantined(
        self, limit: int = 1000, *, run: str | None = None, stream: str | None = None
    ) -> list[dict[str, Any]]:
        """Dirty rows kept in this sink, newest first, as `dirty` gives them."""
        return self.dirty(Dirty(run=run or "", stream=stream or "", limit=limit))

    def dirty(self, which: Dirty) -> list[dict[str, Any]]:
        """The quarantined rows that are meant: `id run stream step code field value original message state at sync`,
        `shape` (the schema of the original), `fixed` and `history` (the mended version, who made it), `cause` (the
        first cause of a row that was refused again).

        Creates nothing; a sink that has never quarantined a row has none.
        """
        del which
        return []

    def fix(self, fixes: Sequence[Fix]) -> int:
        """Store mended versions beside the originals, all or none; returns how many rows were open and have theirs."""
        raise InvalidPlanError(f"{type(self).__name__} keeps no quarantine in which {len(fixes)} rows could be fixed")

    def replaying(self, sync: str, stream: str) -> dict[str, Any]:
        """How a stream was last written, for rows that go in again: `target mode key cursor incremental recipe run
        finished`; empty if nothing is known of it."""
        del sync, stream
        return {}

    def preview(self, write: Write) -> Sequence[str]:
        """The statements that opening and finishing this stream would run on the visible table, without running any;
        none where the sink has no tables. Raises what `open` would raise for the shape of the target."""
        del write
        return ()

    def identity(self, name: str) -> str:
        """The name of a target as this system tells targets apart: two names with one identity mean the same one."""
        return name

    def removes(self, write: Write) -> bool:
        """Whether sessions of this write can take single rows out by key (`Session.remove`)."""
        del write
        return False

    def modes(self) -> tuple[WriteMode, ...]:
        """The write modes this sink has."""
        return tuple(WriteMode)

    def close(self) -> None:
        """Release connections; may be called twice."""


@dataclass(frozen=True)
class Types:
    """How a system's column types become Arrow's, and what an Arrow field becomes in a new table of the system."""

    natives: tuple[str, ...]
    """One of each type that can be read."""
    field: Callable[[str], pa.Field[Any]]
    """The field `v` that a column of a type is read as."""
    becomes: Callable[[pa.Field[Any]], tuple[str, pa.Field[Any]]]
    """The type of a new column for a field, and the field that this column would be read as."""


@dataclass(frozen=True)
class Connector:
    """How a connector presents itself to the registry; one per file or folder of `tongqu.connectors`."""

    name: str
    title: Mapping[str, str]
    settings: type[Settings]
    can: Can
    schemes: tuple[str, ...]
    from_url: Callable[[str], Settings]
    source: Callable[[Any], Source] | None = None
    sink: Callable[[Any], Sink] | None = None
    label: str = "real"
    """How far it was tried: real, compatible, mock or compile-only."""
    guarantee: Mapping[str, str] = field(default_factory=dict)
    """What writing it guarantees, in zh and en."""
    extra: str = ""
    """The extra to install, if any."""
    types: Callable[[], Types] | None = None
    """Its types, for the table of types."""
    claims: Callable[[str], bool] | None = None
    """Which URLs of its schemes are meant for it, where another connector has the same scheme (`https:`); None: those
    that nobody else claims."""
    server: Callable[[Any], Server] | None = None
    """Answers the gateway's queries; set exactly where `Can.SERVES` is."""
    systems: Iterable[str] = ()
    """Systems it speaks to, each with its honest label: `MariaDB 10.11 (real)`."""
