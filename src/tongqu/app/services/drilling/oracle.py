"""Judges a drill: what a reader saw while it ran, and what is there when everything has healed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

from tongqu.app.services.drilling.places import Place, Query
from tongqu.app.services.drilling.work import ACCOUNTS, BALANCE, BATCH, TABLES, Ledger, Op, Rows, expected

LOOK_SECONDS = 0.05
MOST = 5
"""Examples of what is wrong that are told."""


@dataclass
class Invariant:
    """One promise: `wrong` has examples of where it was broken; `looked` is how often it was looked at."""

    name: str
    wrong: list[str] = field(default_factory=list)
    looked: int = 0

    def see(self, good: bool, about: str) -> None:  # the one thing that is seen
        """Look once."""
        self.looked += 1
        if not good and len(self.wrong) < MOST:
            self.wrong.append(about)

    def document(self) -> dict[str, Any]:
        """As it stands in the certificate."""
        return {"name": self.name, "ok": not self.wrong, "looked": self.looked, "wrong": self.wrong}


class Watching:
    """A reader of the target while the drill runs, in a thread of its own: versions of a key never go back (I3, where
    it is `steady`), no batch is seen in part (I4), the stored position never goes back (I5). A context manager."""

    def __init__(self, sink: Place, tables: Sequence[str], mode: str, *, steady: bool = True):
        self._steady = steady
        self.order, self.whole, self.position = Invariant("I3"), Invariant("I4"), Invariant("I5")
        self.failed = ""
        self._sink = sink
        self._tables = tables
        self._mode = mode
        self._versions: dict[int, int] = {}
        self._positions: dict[str, int] = {}
        self._stop = Event()
        self._thread = Thread(target=self._run, name="tongqu-drill-watch")

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        """Connections to a system that is down come again."""
        while not self._stop.is_set():
            try:
                with self._sink.asking() as query:
                    while not self._stop.wait(LOOK_SECONDS):
                        self._look(query)
            except Exception as error:  # noqa: BLE001  # whatever a driver raises while its server is being hurt
                self.failed = type(error).__name__
                self._stop.wait(0.2)

    def _look(self, query: Query) -> None:
        if "counter" in self._tables and self._steady:
            for id, version in query("SELECT id, ver FROM {}counter"):
                before = self._versions.get(id, -1)
                self.order.see(version >= before, f"counter {id} went back from {before} to {version}")
                self._versions[id] = max(before, version)
        for marker, count in query("SELECT marker, count(*) FROM {}batch GROUP BY marker"):
            self.whole.see(count == BATCH, f"{count} rows of batch {marker} were seen")
        if self._mode == "cdc" and "account" in self._tables and self._steady:
            for count, total in query("SELECT count(*), sum(balance) FROM {}account"):
                there = count == ACCOUNTS
                self.whole.see(not there or int(total) == ACCOUNTS * BALANCE, f"the accounts had {total} together")
        if self._mode == "incremental":
            self._look_at_positions(query)

    def _look_at_positions(self, query: Query) -> None:
        found = query("SELECT stream, position FROM {}_tongqu_checkpoint WHERE split = '' AND stream <> ''")
        for stream, text in found:
            cursor = (json.loads(text) if text else {}).get("cursor")
            if isinstance(cursor, int):
                before = self._positions.get(stream, -1)
                self.position.see(cursor >= before, f"the position of {stream} went back from {before} to {cursor}")
                self._positions[stream] = max(before, cursor)
                if stream.rpartition(".")[2] == "done":
                    [(newest,)] = query("SELECT coalesce(max(ver), 0) FROM {}done")
                    self.position.see(cursor <= newest, f"the position {cursor} is ahead of the rows ({newest})")


def settled(ledger: Ledger, source: Place) -> list[Op]:
    """The operations that happened: what is unknown is looked up in the source. Raises what drivers raise."""
    with source.asking() as query:
        there = {number for (number,) in query("SELECT id FROM {}done")}
    return [op for op, outcome in ledger.outcomes.values() if outcome == "ok" or op.number in there]


def judge(ledger: Ledger, source: Place, sink: Place, tables: Sequence[str]) -> list[Invariant]:
    """What must hold once everything has healed: nothing acknowledged is lost and nothing that failed is there (I1),
    each key is there once (I2), the last version won (I3), no bad row kept others out (I7), source and target are
    equal (I6)."""
    lost, once, last, equal, poison = (Invariant(name) for name in ("I1", "I2", "I3", "I6", "I7"))
    happened = settled(ledger, source)
    right = expected(happened)
    failed = ledger.numbers("fail")
    with sink.asking() as target, source.asking() as origin:
        for table in tables:
            columns = ", ".join(TABLES[table])
            found = [tuple(row) for row in target(f"SELECT {columns} FROM {{}}{table}")]
            rows: Rows = set(found)
            once.see(len({row[0] for row in found}) == len(found), f"{table} has keys twice")
            if table == "done":
                for op, outcome in ledger.outcomes.values():
                    if outcome == "ok":
                        lost.see((op.number, op.number) in rows, f"operation {op.number} ({op.kind}) is lost")
                lost.see(not failed & {row[0] for row in rows}, "an operation that failed is in the target")
            if table == "part":
                poison.see(rows == right[table], _differing(table, rows, right[table]))
                continue
            last.see(rows == right[table], _differing(table, rows, right[table]))
            with suppress(ValueError):
                here = {tuple(row) for row in origin(f"SELECT {columns} FROM {{}}{table}")}
                equal.see(rows == here, _differing(table, rows, here))
    return [lost, once, last, equal, *([poison] if "part" in tables else [])]


def _differing(table: str, rows: Rows, right: Rows) -> str:
    missing, extra = sorted(right - rows)[:3], sorted(rows - right)[:3]
    return f"{table}: {len(right - rows)} rows missing {missing}, {len(rows - right)} not expected {extra}"


def summary(found: Sequence[Invariant]) -> list[Mapping[str, Any]]:
    """Invariants by name, those of one name as one."""
    together: dict[str, Invariant] = {}
    for one in found:
        whole = together.setdefault(one.name, Invariant(one.name))
        whole.looked += one.looked
        whole.wrong += one.wrong
    return [together[name].document() for name in sorted(together)]
