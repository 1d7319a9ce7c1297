"""What a drill writes: operations with a seed, a ledger of what was acknowledged, and the tables they must lead to."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["ok", "fail", "unknown"]
Rows = set[tuple[Any, ...]]
"""Rows of a table as tuples in the order of its columns."""
TABLES = {
    "seen": ("id", "ver"),
    "counter": ("id", "n", "ver"),
    "account": ("id", "balance", "ver"),
    "batch": ("id", "marker", "ver"),
    "part": ("id", "weight", "ver"),
    "done": ("id", "ver"),
}
"""Every column is a whole number; `id` is the key, and `ver` the number of the operation that wrote the row last, so
many rows share one. `done` has a row for each operation, written in its transaction."""
COUNTERS, ACCOUNTS, BATCH = 8, 6, 5
BALANCE = 1000
POISON = "broken"
"""Stands in a column of numbers, where the system lets it."""


@dataclass(frozen=True)
class Op:
    """One operation: a transaction. `what` is its numbers: `add` the id, `count` the counter, `transfer` from, to and
    amount, `batch` the first id, `retire` the id, `poison` the id."""

    number: int
    kind: str
    what: tuple[int, ...] = ()

    def statements(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Its statements with `?` for values; the tables have no schema before their names, but `{}`."""
        n = self.number
        made: list[tuple[str, tuple[Any, ...]]] = []
        if self.kind == "add":
            made = [("INSERT INTO {}seen VALUES (?, ?)", (self.what[0], n))]
        elif self.kind == "count":
            made = [("UPDATE {}counter SET n = n + 1, ver = ? WHERE id = ?", (n, self.what[0]))]
        elif self.kind == "transfer":
            giver, taker, amount = self.what
            move = "UPDATE {}account SET balance = balance + ?, ver = ? WHERE id = ?"
            made = [(move, (-amount, n, giver)), (move, (amount, n, taker))]
        elif self.kind == "batch":
            made = [("INSERT INTO {}batch VALUES (?, ?, ?)", (self.what[0] + i, self.what[0], n)) for i in range(BATCH)]
        elif self.kind == "retire":
            made = [("DELETE FROM {}seen WHERE id = ?", (self.what[0],))]
        elif self.kind == "poison":
            made = [("INSERT INTO {}part VALUES (?, ?, ?)", (self.what[0], POISON, n)),
                    ("INSERT INTO {}part VALUES (?, ?, ?)", (self.what[0] + 1, 1, n))]  # fmt: skip
        return [*made, ("INSERT INTO {}done VALUES (?, ?)", (n, n))]


def begin() -> list[tuple[str, tuple[Any, ...]]]:
    """The rows that are there before the first operation."""
    counters = [("INSERT INTO {}counter VALUES (?, 0, 0)", (id,)) for id in range(COUNTERS)]
    return counters + [("INSERT INTO {}account VALUES (?, ?, 0)", (id, BALANCE)) for id in range(ACCOUNTS)]


@dataclass
class Workload:
    """Operations one after the other, the same for the same seed. `kinds` are those that source and mode allow."""

    seed: int
    kinds: Sequence[str]
    _number: int = 0
    _id: int = 0
    _added: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311  # made-up operations, the same every time

    def next(self) -> Op:
        """The next operation."""
        chance = self._chance
        self._number += 1
        kind = chance.choice(self.kinds)
        if kind == "retire" and not self._added:
            kind = "add"
        what: tuple[int, ...] = ()
        if kind == "count":
            what = (chance.randrange(COUNTERS),)
        elif kind == "transfer":
            giver, taker = chance.sample(range(ACCOUNTS), 2)
            what = (giver, taker, chance.randint(1, 50))
        elif kind == "retire":
            what = (self._added.pop(chance.randrange(len(self._added))),)
        else:
            what = (self._id,)
            self._id += BATCH
            if kind == "add":
                self._added.append(what[0])
        return Op(self._number, kind, what)


class Ledger:
    """What became of each operation, one JSON line each, on disk (fsync) before the next one begins: an operation
    whose writer died is `unknown`. A context manager."""

    def __init__(self, path: Path):
        self._file = path.open("ab", buffering=0)
        self.outcomes: dict[int, tuple[Op, Outcome]] = {}

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def intend(self, op: Op) -> None:
        """It is about to be done; until `told` its outcome is unknown."""
        self.outcomes[op.number] = (op, "unknown")
        self._write({"n": op.number, "kind": op.kind, "what": op.what})

    def told(self, op: Op, outcome: Outcome) -> None:
        """What the system said."""
        self.outcomes[op.number] = (op, outcome)
        self._write({"n": op.number, "outcome": outcome})

    def numbers(self, outcome: Outcome) -> set[int]:
        """The operations that ended so."""
        return {number for number, (_, found) in self.outcomes.items() if found == outcome}

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file.fileno(), (json.dumps(line) + "\n").encode())
        os.fsync(self._file.fileno())

    @staticmethod
    def read(path: Path) -> dict[int, tuple[Op, Outcome]]:
        """A ledger that was written before; a line that was torn by a crash is as if it had not been begun."""
        found: dict[int, tuple[Op, Outcome]] = {}
        for line in path.read_bytes().split(b"\n"):
            try:
                told = json.loads(line)
            except ValueError:
                continue
            number = int(told["n"])
            if "outcome" in told:
                found[number] = (found[number][0], told["outcome"])
            else:
                found[number] = (Op(number, told["kind"], tuple(told["what"])), "unknown")
        return found


def expected(ops: Iterable[Op]) -> dict[str, Rows]:
    """The rows that these operations lead to, worked out beside any database. Poison rows are not among them."""
    tables: dict[str, dict[int, tuple[Any, ...]]] = {name: {} for name in TABLES}
    tables["counter"] = {id: (id, 0, 0) for id in range(COUNTERS)}
    tables["account"] = {id: (id, BALANCE, 0) for id in range(ACCOUNTS)}
    for op in sorted(ops, key=lambda one: one.number):
        n = op.number
        tables["done"][n] = (n, n)
        if op.kind == "add":
            tables["seen"][op.what[0]] = (op.what[0], n)
        elif op.kind == "count":
            id, count, _ = tables["counter"][op.what[0]]
            tables["counter"][id] = (id, count + 1, n)
        elif op.kind == "transfer":
            giver, taker, amount = op.what
            for id, by in ((giver, -amount), (taker, amount)):
                tables["account"][id] = (id, tables["account"][id][1] + by, n)
        elif op.kind == "batch":
            tables["batch"] |= {op.what[0] + i: (op.what[0] + i, op.what[0], n) for i in range(BATCH)}
        elif op.kind == "retire":
            tables["seen"].pop(op.what[0], None)
        elif op.kind == "poison":
            tables["part"][op.what[0] + 1] = (op.what[0] + 1, 1, n)
    return {name: set(rows.values()) for name, rows in tables.items()}
