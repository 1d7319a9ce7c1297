"""Money that moves between accounts of several systems by sagas, while processes die and people draw money: none of it
may appear or vanish."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import time

from tongqu.engine.twoway.packing import pack, unpacked
from tongqu.engine.twoway.place import Want
from tongqu.engine.twoway.saga import Item, Outcomes, Saga
from tongqu.store.agreements import Settlement, Waiting
from tongqu.store.twoway import Book
from tongqu.testing.places import Died, MemoryPlace

OPENING = 1000
_MOST = 2000
"""What a transfer moves at most: more than most accounts hold, so that systems refuse some of them."""


@dataclass
class Bank:
    """Some systems with accounts. `deaths` is the chance that a process dies at a write."""

    folder: Path
    seed: int
    systems: int = 5
    accounts: int = 400
    together: int = 100
    deaths: float = 0.01
    done: int = 0
    taken_back: int = 0
    died: int = 0
    stuck: int = 0
    places: dict[str, MemoryPlace] = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311  a simulation's
        self._ids = count(1)
        self.places = {
            f"bank{number}": MemoryPlace(
                f"bank{number}", {str(n): pack([str(n), str(OPENING)]) for n in range(self.accounts)},
                refuses=_overdrawn, dies=self._dies,
            )
            for number in range(self.systems)
        }  # fmt: skip

    @property
    def total(self) -> int:
        """All money of all systems."""
        return sum(_balance(row) for place in self.places.values() for row in place.held.values())

    @property
    def lowest(self) -> int:
        """The balance of the poorest account."""
        return min(_balance(row) for place in self.places.values() for row in place.held.values())

    def run(self, transfers: int) -> None:
        """Begin so many transfers; every one is done or taken back in the end."""
        left = transfers
        while left > 0 or self._open():
            with closing(Book(self.folder / "two-way.db", time)) as book:  # a new process
                book.stage("bank", "two_way")
                saga = Saga("bank", book, self.places, lambda: f"t{next(self._ids):012}")
                try:
                    self._count(saga.recover(_remembered))
                    while True:
                        self._finish(saga)
                        if left <= 0:
                            break
                        items = self._transfers(min(self.together, left))
                        self._people()
                        left -= len(items)
                        self._count(saga.carry_out(items, _remembered))
                        for place in self.places.values():
                            place.done.clear()  # its batch is closed: nobody asks for it any more
                except Died:
                    self.died += 1
                    self._people()

    def _open(self) -> bool:
        with closing(Book(self.folder / "two-way.db", time)) as book:
            return bool(book.open_batches("bank") or book.waiting("bank"))

    def _transfers(self, many: int) -> list[Item]:
        """Transfers of which no two touch one account."""
        names, used, items = list(self.places), set[tuple[str, str]](), []
        for number in range(many):
            ends = [(self._chance.choice(names), str(self._chance.randrange(self.accounts))) for _ in range(2)]
            if ends[0][0] == ends[1][0] or used & set(ends):
                continue
            used |= set(ends)
            amount = self._chance.randrange(1, _MOST)
            wants = [
                (side, self._moved(side, key, by)) for (side, key), by in zip(ends, (-amount, amount), strict=True)
            ]
            items.append(Item(f"{number}", wants, note={"ends": [*ends[0], -amount], "to": [*ends[1], amount]}))
        return items or self._transfers(many)

    def _moved(self, side: str, key: str, by: int) -> Want:
        old = self.places[side].held[key]
        return Want(key, old, pack([key, str(_balance(old) + by)]))

    def _finish(self, saga: Saga) -> None:
        """Take back what could not be taken back, because somebody had changed the account meanwhile. Who has spent the
        money by now gets it from the richest account of the same system."""
        while waiting := saga.book.waiting("bank", limit=1):
            side, key, by = waiting[0].key.split("/")[-3:]
            held = self.places[side].held
            short = int(by) - _balance(held[key])
            if short > 0:
                _, richest = max((_balance(row), one) for one, row in held.items())
                held[richest] = self._moved(side, richest, -short).new or ""
                held[key] = self._moved(side, key, short).new or ""
            item = Item(waiting[0].key, [(side, self._moved(side, key, -int(by)))], note={"settles": waiting[0].id})
            self.stuck += saga.carry_out([item], _remembered)[0][1] == ("done",)

    def _people(self) -> None:
        """People move money between accounts of one system, as they like."""
        for place in self.places.values():
            for _ in range(3):
                one, other = (str(self._chance.randrange(self.accounts)) for _ in range(2))
                amount = self._chance.randrange(1, 20)
                if one != other and _balance(place.held[one]) >= amount:
                    place.held[one] = self._moved(place.name, one, -amount).new or ""
                    place.held[other] = self._moved(place.name, other, amount).new or ""

    def _count(self, done: Sequence[tuple[Item, Outcomes]]) -> None:
        for item, outcomes in done:
            if "settles" not in item.note:
                self.done += set(outcomes) == {"done"}
                self.taken_back += set(outcomes) != {"done"}

    def _dies(self) -> None:
        if self._chance.random() < self.deaths:
            raise Died


def _remembered(done: Sequence[tuple[Item, Outcomes]]) -> Settlement:
    """What is stuck waits; what waited and is done is over."""
    waiting, settled = [], []
    for item, outcomes in done:
        if "settles" in item.note:
            settled += [item.note["settles"]] if outcomes[0] == "done" else []
            continue
        for outcome, told in zip(outcomes, (item.note["ends"], item.note["to"]), strict=True):
            if outcome == "stuck":
                side, key, by = told
                waiting.append(Waiting(f"{item.wants[0][1].old}/{side}/{key}/{by}", "stuck", {}))
    return Settlement(waiting=waiting, settled=settled)


def _balance(row: str) -> int:
    return int(unpacked(row)[1] or 0)


def _overdrawn(want: Want) -> bool:
    return want.new is not None and _balance(want.new) < 0
