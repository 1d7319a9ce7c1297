"""An outside system in memory, which the fakes read and write."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import pyarrow as pa

from tongqu.core.data import Checkpoint, Counts, Position, Started
from tongqu.core.errors import TongquError


@dataclass
class Stored:
    """A table of a world."""

    rows: pa.Table
    key: tuple[str, ...] = ()


@dataclass
class Stream:
    """What a world knows about a stream that is or was written."""

    run: str
    fence: int
    state: str = "running"
    position: Position | None = None
    counts: Counts = field(default_factory=Counts)
    splits: dict[str, Checkpoint] = field(default_factory=dict)
    staged: list[pa.Table] = field(default_factory=list)


@dataclass
class World:
    """An outside system in memory. Several sources and sinks may share it, from several threads."""

    tables: dict[str, Stored] = field(default_factory=dict)
    runs: dict[str, Started] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: list[tuple[str, Position]] = field(default_factory=list)
    faults: dict[str, list[TongquError]] = field(default_factory=dict)
    password: str = ""
    lock: RLock = field(default_factory=RLock)

    def meet(self, name: str) -> None:
        """Raise the next planned fault of that name, if there is one."""
        with self.lock:
            if self.faults.get(name):
                raise self.faults[name].pop(0)
