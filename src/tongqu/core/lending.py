"""What ends can do besides, so that splits of one load are moved by several processes at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol, runtime_checkable

from tongqu.core.data import Batch, Opened, Position, Write


@runtime_checkable
class Lends(Protocol):
    """A sink whose opened stream other processes can enter."""

    def enter(self, write: Write) -> Opened:
        """Open a stream of changes that several processes write side by side, or enter it where another process of the
        same run has opened it for the same columns and steps. Raises FencedError where somebody else began it at the
        same moment: try again."""
        ...

    def join(self, write: Write, fence: int, split: str, *, make: bool = False) -> Opened:
        """Enter a stream that another process has opened under this fence and begun, and take one of its splits:
        whoever had it before can commit nothing more. Gives the state as it is then, whose checkpoint of the split is
        where to go on. Opens and discards nothing; with `make` a split that is not there begins. Raises FencedError if
        the stream is another's by now."""
        ...

    def gather(self, write: Write) -> Opened:
        """For the process that opened the stream: make all its splits its own again, so that whoever had joined can
        commit nothing more, and give the state. Raises FencedError if the stream is another's by now."""
        ...


@runtime_checkable
class Dated(Protocol):
    """A source that can say which instant it sees, so that another process sees the same."""

    def instant(self) -> str:
        """The instant of its full reads, which holds as long as this source is open; empty if it cannot be shared."""
        ...

    def at(self, instant: str) -> None:
        """Read at the instant that a source in another process gave; told before anything is read."""
        ...


@dataclass(frozen=True)
class Part:
    """Something of one part of a log: a batch, or once a second how many messages wait (`part` is empty then)."""

    part: str
    batch: Batch | None
    behind: int | None = None


@runtime_checkable
class Shared(Protocol):
    """A log of messages whose parts several processes read, each its share."""

    def share(
        self, take: Callable[[str], Position | None], give_up: Callable[[str], None], rows: int, stop: Event
    ) -> Generator[Part, None, None]:
        """Read the parts that fall to this process, until `stop`. `take` is asked where to go on when a part is taken
        up (None: where the log begins, or a position that knows several parts), `give_up` is told when it falls to
        somebody else; both are called between two items. Raises ConnectError and LostPositionError."""
        ...

    def together(self, positions: Sequence[Position]) -> Position:
        """One position from which one process goes on alone: it knows the parts of all these; of a part that several
        know, the last one counts."""
        ...
