"""One side of a two-way sync as the engine sees it: rows as packed texts, and writes that look before they change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.core.data import Position

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Want:
    """A row that shall become another one, if it still is what it was. None: absent."""

    key: str
    old: str | None
    new: str | None


class Place(ABC):
    """A dataset of one system. Blocking; used by one thread. Raises ConnectorError classes."""

    name: str

    @abstractmethod
    def rows(self) -> Iterator[pa.Table]:
        """All rows, as tables with the texts `key` and `row` (`Shape.packed`)."""

    @abstractmethod
    def fetch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """The rows of these keys that are there, as they are now."""

    @abstractmethod
    def write(self, id: str, wants: Sequence[Want]) -> Sequence[bool | str]:
        """Make all of the wants whose old row is still there true, in one transaction, once for each `id` however often
        it is called with it; whether each was, or the row that the system made of it where it is another one. Each key
        comes once. Raises DataError if the system refuses a row, having changed nothing."""

    def touched(self, after: Position | None) -> tuple[Sequence[str] | None, Position | None]:
        """The keys that may have changed since a position, and the position to ask after next time. None instead of
        keys: all rows must be compared."""
        del after
        return None, None

    def close(self) -> None:
        """Release connections; may be called twice."""
