"""Seeded people who edit the same records in several systems at once, and what readers are given meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic, time
from typing import Any

import pyarrow as pa

from tongqu.engine.twoway.packing import Shape, pack, unpacked
from tongqu.engine.twoway.round import TwoWay
from tongqu.meaning.agreeing import EVERY, Policy
from tongqu.store.twoway import Book
from tongqu.testing.places import MemoryPlace

_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()), pa.field("value", pa.int64()), pa.field("status", pa.string()),
    pa.field("rev", pa.int64()),
]  # fmt: skip
SHAPE = Shape(pa.schema(_FIELDS), ("id",))
APPROVED, DRAFT = "released", "draft"


@dataclass(frozen=True)
class People:
    """How many edit what, and how often systems are brought together and read."""

    edits: int
    seed: int
    systems: int = 5
    records: int = 200
    burst: int = 5
    """Edits between two synchronisations: all of them are concurrent."""
    reads: int = 4
    """Reads after each edit."""
    drafts: float = 0.4
    """The share of edits that are not approved."""


@dataclass
class Reads:
    """How many reads gave something else than the newest approved version that any system has, by why. A read that is
    bad in several ways counts once in `bad`."""

    all: int = 0
    bad: int = 0
    stale: int = 0
    unapproved: int = 0
    divergent: int = 0

    def note(self, given: str | None, newest: int, others: Iterator[str | None]) -> None:
        """A reader was given a row, while readers at other systems would be given others."""
        row = SHAPE.row(given) or {}
        revision = int(row.get("rev") or 0)
        stale, unapproved = revision < newest, row.get("status", APPROVED) != APPROVED
        divergent = any(other != given for other in others)
        self.all += 1
        self.stale += stale
        self.unapproved += unapproved
        self.divergent += divergent
        self.bad += stale or unapproved or divergent


@dataclass
class Measured:
    """What readers of each world were given: last write wins (by the true order of all edits, at the same moments, by
    clocks that never differ), a two-way sync read through Tongqu, and the same read at the systems themselves."""

    last_write_wins: Reads = field(default_factory=Reads)
    two_way: Reads = field(default_factory=Reads)
    at_the_systems: Reads = field(default_factory=Reads)
    overruled: int = 0
    seconds: float = 0.0
    same: bool = False
    """Whether all systems hold the same rows in the end, drafts apart."""

    @property
    def fall(self) -> float:
        """The share of bad reads that a two-way sync spares."""
        return 1 - self.two_way.bad / max(self.last_write_wins.bad, 1)


def measure(people: People, folder: Path) -> Measured:
    """Let the same people edit and read in both worlds."""
    chance = random.Random(people.seed)  # noqa: S311  a simulation's
    names = tuple(f"s{number}" for number in range(people.systems))
    plain: dict[str, dict[str, str]] = {name: {} for name in names}
    places = {name: MemoryPlace(name) for name in names}
    ids, found = count(1), Measured()
    newest: dict[str, int] = {}
    with closing(Book(folder / "two-way.db", time)) as book:
        book.stage("s", "two_way")
        policy = Policy(names, {EVERY: names[0]}, "newest", "rev", ("status", APPROVED), frozenset(names))
        sync = TwoWay("s", SHAPE, places, policy, book, lambda: f"b{next(ids):09}", monotonic)
        given: dict[str, str | None] = {}
        began = monotonic()
        for revision in range(1, people.edits + 1):
            side, key = chance.choice(names), str(chance.randrange(people.records))
            status = DRAFT if chance.random() < people.drafts else APPROVED
            row = pack([key, str(chance.randrange(1_000_000)), status, str(revision)])
            plain[side][key] = places[side].held[key] = row
            if status == APPROVED:
                newest[key] = revision
            if revision % people.burst == 0:
                _last_write_wins(plain)
                sync.round()
                given = {one.key: one.row for one in book.newest("s", people.records)}
            for _ in range(people.reads):
                side, key = chance.choice(names), str(chance.randrange(people.records))
                wanted = newest.get(key, 0)
                found.last_write_wins.note(plain[side].get(key), wanted, (held.get(key) for held in plain.values()))
                found.two_way.note(given.get(key), wanted, iter(()))  # there is one answer, wherever it is asked
                own = (place.held.get(key) for place in places.values())
                found.at_the_systems.note(places[side].held.get(key), wanted, own)
        sync.round()
        found.seconds = monotonic() - began
        found.overruled = len(book.overruled("s", people.edits))
        agreed = {one.key: one.row for one in book.newest("s", people.records)}
    found.same = all(
        row == agreed.get(key) or unpacked(row)[2] == DRAFT
        for place in places.values()
        for key, row in place.held.items()
    )
    return found


def _last_write_wins(systems: dict[str, dict[str, str]]) -> None:
    """Every system gets the newest row of each record."""
    newest: dict[str, str] = {}
    for held in systems.values():
        for key, row in held.items():
            if key not in newest or int(unpacked(row)[3] or 0) > int(unpacked(newest[key])[3] or 0):
                newest[key] = row
    for held in systems.values():
        held.update(newest)
