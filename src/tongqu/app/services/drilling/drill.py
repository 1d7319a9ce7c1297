"""Drills: operations go through Tongqu on a clone while faults befall it, and a certificate says what held."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tongqu.app.services.drilling.faults import FAULTS, Fault, Scene
from tongqu.app.services.drilling.movers import MEGABYTE, Mover, Movers
from tongqu.app.services.drilling.oracle import Invariant, Watching, judge, settled, summary
from tongqu.app.services.drilling.places import Place
from tongqu.app.services.drilling.work import Ledger, Op, Workload, begin
from tongqu.catalog.certificate import sha256

UPSERTED = ("seen", "counter", "account", "batch", "done")
APPENDED = ("seen", "batch", "done")
"""Tables whose rows never change: each must arrive once, and nothing in the target keeps it from arriving twice."""
PATIENCE = 120.0
HEALS = 8
"""Runs without a fault after the last round; one that does nothing wrong needs one."""
MOST_MEMORY = 1 << 30


@dataclass(frozen=True)
class Wish:
    """What a drill is to do. The same seed gives the same operations and the same faults in the same order; when in a
    run each of them strikes is as the machine has it."""

    seed: int
    seconds: float = 20.0
    faults: Sequence[Fault] = tuple(FAULTS.values())
    mode: str = "incremental"
    """`incremental` or `cdc`."""
    write: str = "upsert"
    """`upsert`, or `append` (incremental only)."""
    pause: float = 0.01
    """Between two operations."""
    rounds: int = 0
    """End after so many rounds instead of `seconds`; 0: by the time."""
    loaded: bool = False
    """The first load is done before the first fault. Where it is not, and is interrupted, the log is read from before
    what the load saw: until it has caught up a reader may see older versions again (I3 holds at the end)."""


@dataclass
class Drill:
    """One drill in a folder of its own. `wait` passes seconds and tells whether to stop; `at` is the instant as text;
    `now` counts seconds."""

    folder: Path
    source: Place
    sink: Place
    wish: Wish
    at: Callable[[], str]
    now: Callable[[], float]
    wait: Callable[[float], bool]
    environ: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[str, int], None] = lambda fault, number: None
    """Is told of each round."""
    _struck: dict[str, int] = field(default_factory=dict)
    _runs: dict[str, int] = field(default_factory=lambda: {"started": 0, "killed": 0, "failed": 0})
    _named: Invariant = field(default_factory=lambda: Invariant("I9"))
    _bounded: Invariant = field(default_factory=lambda: Invariant("I8"))
    _alive: Event = field(default_factory=Event)

    def run(self) -> dict[str, Any]:
        """The certificate: `ok`, the invariants with what was wrong, and its own SHA-256. Raises what the places raise
        while they are built; drops what it made."""
        wish, began = self.wish, self.at()
        tables = (*(APPENDED if wish.write == "append" else UPSERTED), *(("part",) if self._poisoned else ()))
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            for place, write in ((self.source, False), (self.sink, True)):
                opened.callback(place.drop)
                place.build(write=write)
            self.source.do(begin())
            ledger = opened.enter_context(Ledger(self.folder / "ledger.jsonl"))
            named = [f"{self.source.before}{table}" for table in tables] if self.source.before else tables
            movers = Movers(self.folder, self.source.url, self.sink.url, [*named], wish.mode, wish.write, self.environ)
            opened.callback(movers.close)
            seen: list[Invariant] = []
            if wish.loaded:
                self._heal(movers)
            if self._watched:
                steady = wish.mode != "cdc" or wish.loaded
                watching = opened.enter_context(Watching(self.sink, tables, wish.mode, steady=steady))
                seen = [watching.order, watching.whole, watching.position]
            rounds = self._play(movers, ledger)
            healed = self._heal(movers)
            found = judge(ledger, self.source, self.sink, tables)
            happened = settled(ledger, self.source)
            found += [*seen, self._named, self._bounded]
        invariants = summary(found)
        document = {
            "drill": f"{self.source.kind} to {self.sink.kind}, {wish.mode}, {wish.write}",
            "seed": wish.seed, "began": began, "finished": self.at(), "rounds": rounds,
            "faults": [{"name": fault.name, "faults": fault.about, "struck": self._struck.get(fault.name, 0)}
                       for fault in wish.faults],
            "operations": {name: len(ledger.numbers(name)) for name in ("ok", "fail", "unknown")}
            | {"happened": len(happened)},
            "runs": self._runs, "healed": healed, "invariants": invariants,
            "peak_mb": max((mover.peak for mover in movers.started), default=0) // MEGABYTE,
            "ok": healed and all(one["ok"] for one in invariants),
        }  # fmt: skip
        return document | {"sha256": sha256(document)}

    @property
    def _poisoned(self) -> bool:
        return self.source.poison and self.wish.mode != "cdc"

    @property
    def _watched(self) -> bool:
        """A DuckDB file is opened by one process at a time."""
        return self.sink.kind != "duckdb"

    def _kinds(self) -> list[str]:
        kinds = ["add", "add", "batch"]
        kinds += ["poison"] if self._poisoned else []
        kinds += ["retire"] if self.wish.mode == "cdc" else []
        return kinds if self.wish.write == "append" else [*kinds, "count", "count", "transfer", "transfer"]

    def _play(self, movers: Movers, ledger: Ledger) -> int:
        """Operations in a thread, and one fault after the other; how many rounds there were."""
        chance = random.Random(self.wish.seed)  # noqa: S311  # a seeded nemesis
        possible = [fault for fault in self.wish.faults if fault.possible(self.source, self.sink)]
        writer = Thread(target=self._write, args=(ledger,), name="tongqu-drill-write")
        writer.start()
        number, end = 0, self.now() + self.wish.seconds
        order: list[Fault] = []
        try:
            while (number < self.wish.rounds) if self.wish.rounds else (self.now() < end):
                number += 1
                order = order or chance.sample(possible, len(possible))
                fault = order.pop()
                self.tell(fault.name, number)
                scene = Scene(movers, self.source, self.sink, chance, self._alive.wait, number)
                self._struck[fault.name] = self._struck.get(fault.name, 0) + 1
                for mover in fault.strike(scene):
                    self._ended(mover)
                if self.wait(0):
                    break
        finally:
            self._alive.set()
            writer.join()
        return number

    def _write(self, ledger: Ledger) -> None:
        """Operations until the end; an error that leaves it open whether it happened makes it unknown."""
        work = Workload(self.wish.seed, self._kinds())
        while not self._alive.wait(self.wish.pause):
            op = work.next()
            ledger.intend(op)
            if self._done(op):
                ledger.told(op, "ok")
            else:
                return

    def _done(self, op: Op) -> bool:
        """Try an operation until the source takes it, looking before each time whether it had; False at the end."""
        while True:
            try:
                with self.source.asking() as query:
                    if query(f"SELECT id FROM {{}}done WHERE id = {op.number}"):
                        return True
                self.source.perform(op)
                return True
            except Exception:  # noqa: BLE001  # whatever a driver raises while its server is being hurt
                if self._alive.wait(0.2):
                    return False

    def _ended(self, mover: Mover) -> None:
        """Wait for a mover; one that follows a log is told to stop. A failure names its cause (I9)."""
        if self.wish.mode == "cdc":
            self._alive.wait(0.3)
            mover.send(signal.SIGTERM)
        end = self.now() + PATIENCE
        while mover.running and self.now() < end:
            self._alive.wait(0.02)
        code, document = mover.end(1)
        self._runs["started"] += 1
        self._runs["killed"] += code < 0
        self._runs["failed"] += code in (1, 2)
        if code in (1, 2):
            problems = document.get("problems", [])
            named = document.get("status") == "stopped" or (bool(problems) and all(one["code"] for one in problems))
            said = mover.err.read_text(encoding="utf-8", errors="replace")
            self._named.see(named and "Traceback" not in said, f"a run ended with {code} and did not say why")
        self._bounded.see(mover.peak < MOST_MEMORY, f"a run took {mover.peak // MEGABYTE} MB")

    def _heal(self, movers: Movers) -> bool:
        """Run without faults until a run ends well that is no rest of one that was interrupted: such a rest reads no
        stream again that had ended before, whatever was written since. Whether one did."""
        for _ in range(HEALS):
            mover = movers.start(catch_up=True)
            end = self.now() + PATIENCE
            while mover.running and self.now() < end:
                self.wait(0.02)
            code, document = mover.end(1)
            self._runs["started"] += 1
            if code in (0, 3) and (self.wish.mode == "cdc" or document.get("attempts") == 1):
                return True
            self.wait(0.5)
        return False
