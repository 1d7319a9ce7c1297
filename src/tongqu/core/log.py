"""The seam to whatever keeps an ordered log: a database's change log, a broker's topics, our own queue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Literal

from tongqu.core.data import Batch, Position
from tongqu.core.errors import InvalidPlanError, TongquError

if TYPE_CHECKING:
    from tongqu.core.connector import Source

OP = "_op"
"""What happened to a row (utf8): `c` created, `u` updated, `d` deleted, `r` read again: the row as it is here in
the log."""
AT = "_at"
"""When its transaction was committed at the source (timestamp[us, UTC]); null where the log does not tell."""
ORIGIN = "_origin"
"""Who made the change, where the log tells (utf8): the mark of a replication origin, so that loops can be seen."""
UNCHANGED = "_unchanged"
"""Columns of a row that the log did not send because they did not change (list<utf8>); they are null in the row."""
CONTROL = (OP, AT, ORIGIN, UNCHANGED)
"""Columns that follow those of the dataset in a batch of changes; all but `_op` only where there is something to tell.
"""


@dataclass(frozen=True)
class Lag:
    """How far a reader is behind: `bytes` or `rows` of log that it has not confirmed, `seconds` since the oldest of it
    was committed, `until_loss` seconds until the system throws away what it still needs; None where nobody knows."""

    bytes: int | None = None
    rows: int | None = None
    seconds: float | None = None
    until_loss: float | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at before or while a log is followed: `what` (a stable word such as `wal_level`), how
    it stands, what was `found`, and the exact statement or setting that mends it."""

    what: str
    state: Literal["ok", "warning", "error"]
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Unsent:
    """Columns that changes of a dataset may lack, as they are when nothing but others of the row changed; and the exact
    statement or setting that makes the system send them."""

    columns: tuple[str, ...]
    fix: str


@dataclass(frozen=True)
class Follow:
    """What a log is asked for. Grow this record, never the signature of `read`.

    `after` is a position that a batch or `Log.begin` gave; `until` a position of `head` at which to end. `ready` waits
    until whoever takes the batches has nothing to do, at most so many seconds: a log that gathers what has come calls
    it before it looks, so that few changes come in one batch rather than in many that wait for each other. `lost` is
    told of a dataset that is lost to the log, and why, while changes of the others come; None: nobody goes on without.
    `by_time` wants the messages of several partitions by their time, as far as they are there: a backlog that is handed
    out partition by partition would be late for windows of event time.
    """

    after: Position
    until: Position | None = None
    batch_rows: int = 65_536
    stop: Event = field(default_factory=Event)
    ready: Callable[[float], None] = lambda _: None
    lost: Callable[[str, TongquError], None] | None = None
    by_time: bool = False

    def lose(self, dataset: str, error: TongquError) -> None:
        """One dataset is lost from here on: tell it, or raise the error where nobody wants to know."""
        if self.lost is None:
            raise error
        self.lost(dataset, error)


class Log(ABC):
    """An ordered log, followed under one stable name for some datasets. One reader at a time; blocking.

    Contract of `read`: batches in the order of the log, each of one dataset (`Batch.dataset`), whose rows have exactly
    the columns of the dataset, in order, and behind them those of `CONTROL` that are needed; a log of plain messages
    (`changes` is False) has none. A change of a row's key is a `d` of the old key followed by a `c`. A `d` has its key
    columns and, where the log tells, the others. `kind` is `truncate` where a table was emptied, `schema` where its
    columns are others from here on (`rows` is an empty batch of the new schema), `heartbeat` where nothing came: at
    least once a second while idle. `position` is set exactly where the log may be cut: at the end of a transaction,
    after all of its rows of all datasets; a transaction may come in many batches. Reading again after a position gives
    exactly the rows behind it. Ends at `until`, or within 5 s of `stop`.

    A dataset of which the log does not have or cannot read what is behind a place (dropped, taken out, altered beyond
    reading) is told to `Follow.lose`, between the batches before and behind that place; no rows of it follow, those of
    the others do. Reading again from before that place tells it again.

    Raises LostPositionError if what is behind `after` is gone, or if the log is another one than it was (a recreated
    slot, another server), naming the cheapest repair; never goes on elsewhere. Raises ConnectError (retryable) for a
    lost connection: the reader calls `read` again after the last position that is durable.
    """

    changes: bool = True
    """Whether batches tell changes (`_op`), or are plain messages."""

    @abstractmethod
    def begin(self) -> Position:
        """Have the log kept for us from now on and return where it begins; if it is kept already, from where it is.
        Idempotent by name."""

    def rejoin(self, dataset: str) -> Position:
        """Have the log kept from now on for a dataset that was lost, or shall be read anew: a place behind which all of
        its changes are told, while every later read of the dataset sees all that was before it. Called while nobody
        reads. Raises NotFoundError if it is not there, InvalidPlanError if it cannot be followed as it is."""
        del dataset
        return self.head()

    def snapshot(self) -> Source | None:
        """Reads that see exactly the instant of the `begin` that began to keep the log; None at any other time, and
        where the system has no such thing. Then rows are read at a later time, and the log behind `begin` overlaps
        them, which a target that is written by key does not notice."""
        return None

    @abstractmethod
    def read(self, follow: Follow) -> Iterator[Batch]:
        """See the contract above."""

    @abstractmethod
    def head(self) -> Position:
        """The end of the log as it is now."""

    @abstractmethod
    def reached(self, position: Position, until: Position) -> bool:
        """Whether `position` is at or behind `until`."""

    def acknowledge(self, position: Position) -> None:
        """Everything up to `position` is durable in every sink: the system need not keep it for us. Called from
        another thread than `read`; never blocks on the reader."""

    def lag(self, position: Position) -> Lag:
        """How far a position is behind the end."""
        del position
        return Lag()

    def examine(self) -> Sequence[Finding]:
        """Everything that following the log needs of the system, the rights and the datasets, each with the exact fix;
        changes nothing."""
        return ()

    def unsent(self, dataset: str) -> Unsent | None:
        """The columns that changes of the dataset may lack as the system is set up now; None: all rows come whole.
        Creates nothing. A column that is only lacking where no value that is there now is left out need not be told."""
        del dataset
        return None

    def filled(self, dataset: str, columns: Sequence[str], *, renamed: bool) -> bool:
        """Whether rows of the dataset may hold values in columns that the log has told for the first time just now, and
        that no change has told: a default or, where others went at the same time (`renamed`), the values of those."""
        del dataset, columns, renamed
        return True

    def resnapshot(self, dataset: str) -> None:
        """Read all rows of one dataset again while the log is read: they come as `r` rows among the changes, each in
        its place (DBLog, arXiv 2010.12597). Called from another thread; survives a restart where it can."""
        raise InvalidPlanError(f"this log cannot read {dataset!r} again while it is followed", hint="sync it in full")

    def kept_as(self, position: Position) -> str:
        """The name under which the system keeps the log that a position is of for one reader; "" where it keeps nothing
        that two readers could take from each other."""
        del position
        return ""

    def taken(self, position: Position) -> bool:
        """Whether the log is kept, and by another reader's word not any more for what is behind the position."""
        del position
        return False

    def forget(self) -> None:
        """Let the system throw the log away: nobody will read on. Idempotent."""

    def close(self) -> None:
        """Release connections; may be called twice. The log stays kept."""
