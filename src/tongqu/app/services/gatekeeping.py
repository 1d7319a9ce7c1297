"""What a running server tells of the gates between stages of two-way syncs: one shut, opened, is due or is blocked."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tongqu.app.services.twoway import gate_of, in_words
from tongqu.core.errors import TongquError
from tongqu.gateway.metrics.troubles import show_trouble
from tongqu.kit.trouble import Trouble
from tongqu.meaning.gates import STAGES
from tongqu.store.feed import Feed
from tongqu.store.home import Home
from tongqu.store.twoway import GATE, Book

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.project.twoway import TwoWayEntry
    from tongqu.gateway.metrics.measures import Metrics
    from tongqu.store.audit.trail import Trail

LEASE, LEASE_SECONDS = "gates", 30.0
TURN_SECONDS = 5.0
AGAIN_SECONDS = 3600.0
"""A gate that is blocked, ready and blocked again is told once in so many seconds."""
MEASURES: Mapping[str, str] = {
    "tongqu_twoway_stage": "Stage of a two-way sync: 0 shadow, 1 one way, 2 two way",
    "tongqu_twoway_gate_ready": "Whether the gate to the next stage may be opened",
    "tongqu_twoway_gate_blocked": "Whether the gate to the next stage was due and is kept shut",
    "tongqu_twoway_gates_shut": "How often the gate has sent the sync back a stage by itself",
    "tongqu_twoway_waiting": "Records that wait for a person",
}
logger = logging.getLogger("tongqu.gateway")


@dataclass
class Gates:
    """Looks every 5 seconds, in one process of a home. Each move between stages, and each gate that is ready or was due
    and is blocked, is told in the log and in the audit trail (kind `gate`); again only after a crash between telling
    and noting it, or an hour later. `numbers` are those of `MEASURES`, by sync."""

    home: Home
    project: Callable[[], Project]
    trail: Trail
    feed: Feed
    holder: str
    now: Callable[[], float]
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    trouble: Trouble = field(
        default_factory=lambda: Trouble("gates", "the gates of two-way syncs cannot be looked at", logger)
    )

    async def run(self, metrics: Metrics) -> None:
        """Until cancelled; shows the numbers of each sync among the metrics."""
        shown: set[str] = set()
        show_trouble(metrics, self.trouble)
        while True:
            wait = TURN_SECONDS
            try:
                await asyncio.to_thread(self.turn)
                self.trouble.over()
            except (TongquError, OSError, sqlite3.Error) as error:  # the next turn may do better
                wait = max(self.trouble.failed(error), TURN_SECONDS)
            for name in self.numbers.keys() - shown:
                for measure, help in MEASURES.items():
                    metrics.gauge(measure, help, partial(self._number, name, measure), sync=name)
                shown.add(name)
            await asyncio.sleep(wait)

    def _number(self, name: str, measure: str) -> float:
        return self.numbers.get(name, {}).get(measure, 0.0)

    def turn(self) -> None:
        """Look and tell, if this process is the one that does."""
        if not self.home.two_way.exists() or not self.feed.lease(LEASE, self.holder, LEASE_SECONDS):
            self.numbers = {}
            return
        with closing(Book.open(self.home, self.now)) as book:
            self.numbers = {name: self._look(book, name, entry) for name, entry in self.project().sync.items()}

    def _look(self, book: Book, name: str, entry: TwoWayEntry) -> dict[str, float]:
        stage, since, stands = gate_of(book, name, entry, self.now())
        told = book.told(name)
        fresh = dict(told)
        for id, move in book.moves_after(name, int(told.get("move", 0))):
            self._moved(name, move)
            fresh |= {"move": id, "at": {}}
        before: dict[str, Any] = fresh.get("at", {}) if fresh.get("stage") == [stage, since] else {}
        fresh |= {"stage": [stage, since], "at": before}
        if stands.state in ("ready", "blocked") and self.now() - before.get(stands.state, 0.0) >= AGAIN_SECONDS:
            self._stands(name, stands.state, stage, in_words(stands.missed))
            fresh["at"] = {**before, stands.state: self.now()}
        if fresh != told:
            book.tell(name, fresh)
        numbers = (STAGES.index(stage), stands.state == "ready", stands.state == "blocked", book.times_shut(name),
                   len(book.waiting(name)))  # fmt: skip
        return dict(zip(MEASURES, map(float, numbers), strict=True))

    def _moved(self, name: str, move: Mapping[str, Any]) -> None:
        what = "shut" if move["who"] == GATE else "opened"
        self.trail.note("gate", on=name, what=what, before=move["from"], stage=move["to"], why=move["why"],
                        who=move["who"], moved=move["at"])  # fmt: skip
        level = logging.WARNING if what == "shut" else logging.INFO
        logger.log(level, "the gate of %s was %s: from %s to %s, %s", name, what, move["from"], move["to"], move["why"])

    def _stands(self, name: str, state: str, stage: str, why: str) -> None:
        self.trail.note("gate", on=name, what=state, stage=stage, why=why)
        if state == "ready":
            logger.warning("the gate of %s may be opened, out of %s: tongqu twoway advance %s", name, stage, name)
        else:
            logger.warning("the gate of %s was due and stays shut: it keeps to %s, %s", name, stage, why)
