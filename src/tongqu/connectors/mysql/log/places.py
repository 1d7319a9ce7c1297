"""Places in a server's log: file and offset, the transactions behind it, and which server and file it was."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Any

from tongqu.core.data import Position

_GTID = re.compile(r"(\d+)-(\d+)-(\d+)")


@dataclass(frozen=True)
class Place:
    """The end of a transaction. `gtid` is MariaDB's `domain-server-sequence` of each domain, or MySQL's set; `server`
    and `born` (when the file was begun, Unix seconds) tell this log from another one; `seconds` is when it was logged.
    """

    file: str
    pos: int
    gtid: str = ""
    server: str = ""
    born: int = 0
    seconds: int = 0
    again: dict[str, Any] = field(default_factory=dict)
    """How far tables have been read again (see `rereading`)."""
    pieces: int = 0
    """How many pieces of such tables have come, since they come between two transactions."""

    @classmethod
    def of(cls, position: Position) -> Place:
        """From a stored position."""
        return cls(**{name: position[name] for name in cls.__dataclass_fields__ if name in position})

    @property
    def position(self) -> Position:
        """As JSON."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in found.items() if value or name in ("file", "pos")}

    @property
    def number(self) -> int:
        """The number of the file."""
        return int(self.file.rpartition(".")[2] or 0)

    def moved(self, **changes: Any) -> Place:
        """The same with other values."""
        return replace(self, **changes)

    def behind(self, other: Place) -> bool:
        """Whether everything before `other` is before this place too."""
        same = self.server == other.server or not (self.server and other.server)
        if same and self.file.rpartition(".")[0] == other.file.rpartition(".")[0]:
            return (self.number, self.pos, self.pieces) >= (other.number, other.pos, other.pieces)
        return covers(self.gtid, other.gtid)


def domains(gtid: str) -> dict[int, tuple[int, int]]:
    """MariaDB's GTIDs as domain → (server, sequence)."""
    return {int(d): (int(s), int(n)) for d, s, n in _GTID.findall(gtid)} if ":" not in gtid else {}


def joined(gtid: str, more: str) -> str:
    """MariaDB's GTIDs after one more transaction."""
    found = domains(gtid) | domains(more)
    return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(found.items()))


def covers(gtid: str, other: str) -> bool:
    """Whether the first names everything that the second does."""
    if ":" in gtid or ":" in other:
        mine, theirs = intervals(gtid), intervals(other)
        return all(_within(runs, mine.get(uuid, [])) for uuid, runs in theirs.items())
    own = domains(gtid)
    return all(domain in own and own[domain][1] >= number for domain, (_, number) in domains(other).items())


def _within(runs: list[tuple[int, int]], others: list[tuple[int, int]]) -> bool:
    return all(any(low <= first and last <= high for low, high in others) for first, last in runs)


def intervals(executed: str) -> dict[str, list[tuple[int, int]]]:
    """MySQL's set of transactions as UUID → runs of numbers, both ends included."""
    found: dict[str, list[tuple[int, int]]] = {}
    for part in executed.replace("\n", "").split(","):
        uuid, *runs = part.strip().split(":")
        for run in runs:
            first, _, last = run.partition("-")
            found.setdefault(uuid.lower(), []).append((int(first), int(last or first)))
    return {uuid: _merged(runs) for uuid, runs in found.items()}


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def added(executed: str, uuid: str, number: int) -> str:
    """MySQL's set after one more transaction."""
    found = intervals(executed)
    found[uuid] = _merged([*found.get(uuid, []), (number, number)])
    return ",".join(
        ":".join([own, *(f"{a}-{b}" if a != b else str(a) for a, b in runs)]) for own, runs in sorted(found.items())
    )


def executed_blocks(executed: str) -> bytes:
    """MySQL's set as COM_BINLOG_DUMP_GTID takes it."""
    found = intervals(executed)
    data = struct.pack("<Q", len(found))
    for uuid, runs in sorted(found.items()):
        data += bytes.fromhex(uuid.replace("-", "")) + struct.pack("<Q", len(runs))
        data += b"".join(struct.pack("<QQ", first, last + 1) for first, last in runs)
    return data
