"""A place in the redo of a database: from where it is mined, and which commits have been told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tongqu.core.data import Position

Record = tuple[int, int, int]
"""Where a redo record stands in its thread: log sequence, block, byte (RBASQN, RBABLK, RBABYTE)."""
_NOWHERE = ((-1, -1, -1), -1)


@dataclass(frozen=True)
class Place:
    """All commits up to the SCN `upto` have been told, and of each redo thread those up to the record in `commits`
    (beside it, its SCN). Those at or before `after` are in the first load. What is to be told has no redo before `scn`:
    the oldest transaction that was open begins there."""

    scn: int
    upto: int
    after: int
    database: str
    """Which database in which incarnation: `dbid/resetlogs_change#`."""
    tables: Mapping[str, int] = field(default_factory=dict)
    """The object numbers of the datasets' tables, as far as they are not lost."""
    commits: Mapping[int, tuple[Record, int]] = field(default_factory=dict)

    def position(self) -> Position:
        """As it is stored."""
        threads = {str(thread): [*record, scn] for thread, (record, scn) in sorted(self.commits.items())}
        return {
            "scn": self.scn, "upto": self.upto, "after": self.after, "database": self.database,
            "tables": dict(self.tables), "threads": threads,
        }  # fmt: skip

    @classmethod
    def of(cls, position: Position) -> Place:
        """As it was stored."""
        threads = {
            int(thread): ((int(at[0]), int(at[1]), int(at[2])), int(at[3]))
            for thread, at in position.get("threads", {}).items()
        }
        tables = {str(name): int(at) for name, at in position.get("tables", {}).items()}
        scn, upto, after = int(position["scn"]), int(position["upto"]), int(position["after"])
        return cls(scn, upto, after, str(position["database"]), tables, threads)

    def told(self, thread: int, scn: int, record: Record) -> bool:
        """Whether a commit is before this place."""
        return scn <= self.after or record <= self.commits.get(thread, _NOWHERE)[0]

    def behind(self, thread: int, record: Record, scn: int) -> Place:
        """The place behind another commit."""
        last = max((record, scn), self.commits.get(thread, _NOWHERE))
        return replace(self, commits={**self.commits, thread: last})

    def without(self, name: str) -> Place:
        """The place for whoever has lost a dataset: which table it is by then does not matter to it."""
        return replace(self, tables={one: at for one, at in self.tables.items() if one != name})

    def reached(self, until: Place) -> bool:
        """Whether it is at or behind another: by commits where that one has any, else by SCN."""
        if not until.commits:
            return self.upto >= until.upto
        return all(
            scn <= self.upto or record <= self.commits.get(thread, _NOWHERE)[0]
            for thread, (record, scn) in until.commits.items()
        )
