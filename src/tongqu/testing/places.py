"""Systems in memory for tests of two-way sync: they remember which writes they did, refuse, and go away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tongqu.core.errors import ConnectError, RefusedRowsError
from tongqu.engine.twoway.place import Place, Want


class Died(BaseException):
    """The process died here; it is no error, so that nothing catches it."""


@dataclass
class MemoryPlace(Place):
    """A side whose `held` rows are a mapping of packed texts. `refuses` tells which wants it refuses; where `away` it
    cannot be reached; `dies` is asked before and after each write and may raise `Died`; `makes` is what becomes of a
    row."""

    name: str
    held: dict[str, str] = field(default_factory=dict)
    refuses: Callable[[Want], bool] = lambda want: False
    away: bool = False
    dies: Callable[[], None] = lambda: None
    makes: Callable[[str], str] = lambda row: row
    done: dict[str, list[bool | str]] = field(default_factory=dict)
    writes: int = 0
    """Rows that were changed by `write`."""

    def rows(self) -> Iterator[pa.Table]:
        """See Place.rows."""
        self._reached()
        yield pa.table({"key": pa.array(self.held, pa.string()), "row": pa.array(self.held.values(), pa.string())})

    def fetch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See Place.fetch."""
        self._reached()
        return {key: self.held[key] for key in keys if key in self.held}

    def write(self, id: str, wants: Sequence[Want]) -> Sequence[bool | str]:
        """See Place.write."""
        self._reached()
        self.dies()
        if id not in self.done:
            if any(self.refuses(want) for want in wants):
                raise RefusedRowsError("a row is refused")
            self.done[id] = [self._one(want) for want in wants]
            self.dies()
        return self.done[id]

    def _one(self, want: Want) -> bool | str:
        if self.held.get(want.key) != want.old:
            return False
        self.writes += 1
        if want.new is None:
            del self.held[want.key]
        else:
            self.held[want.key] = self.makes(want.new)
        return self.held.get(want.key, "") if self.held.get(want.key) != want.new else True

    def _reached(self) -> None:
        if self.away:
            raise ConnectError(f"{self.name} does not answer")
