"""When each schedule fires next; of several schedulers exactly one makes the jobs of a tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tongqu.core.errors import UnknownNameError
from tongqu.store.jobs.job import Work
from tongqu.store.jobs.jobs import Jobs


@dataclass(frozen=True)
class Tick:
    """A schedule as the store knows it. `due` is its next moment (None: it fires by something else), `seen` what it
    has seen of what it watches."""

    name: str
    digest: str
    due: float | None
    last: float = 0.0
    paused: bool = False
    seen: str = ""


class Ticks:
    """The schedules of one place."""

    def __init__(self, jobs: Jobs, place: str):
        self._jobs, self._place = jobs, place

    def agree(self, wanted: Mapping[str, Tick]) -> None:
        """Make the store hold these schedules. One that did not change keeps its next moment, what it has seen, and
        whether it is paused; one that changed keeps the latter."""
        database = self._jobs.database
        with database.turn():
            known = {tick.name: tick for tick in self.all()}
            for name in set(known) - set(wanted):
                database.run("DELETE FROM tongqu_ticks WHERE place = ? AND name = ?", (self._place, name))
            for name, tick in wanted.items():
                before = known.get(name)
                if before is None:
                    database.run(
                        "INSERT INTO tongqu_ticks VALUES (?, ?, ?, ?, 0, 0, '')",
                        (self._place, name, tick.digest, tick.due),
                    )
                elif before.digest != tick.digest:
                    database.run(
                        "UPDATE tongqu_ticks SET digest = ?, due = ?, seen = '' WHERE place = ? AND name = ?",
                        (tick.digest, tick.due, self._place, name),
                    )

    def all(self) -> list[Tick]:
        """All schedules by name."""
        rows = self._jobs.database.rows(
            "SELECT name, digest, due, last, paused, seen FROM tongqu_ticks WHERE place = ? ORDER BY name",
            (self._place,),
        )
        return [Tick(name, digest, due, last, bool(paused), seen) for name, digest, due, last, paused, seen in rows]

    def due(self, now: float) -> list[Tick]:
        """Those whose moment has come."""
        return [tick for tick in self.all() if not tick.paused and tick.due is not None and tick.due <= now]

    def fire(self, tick: Tick, due: float | None, works: Sequence[Work], seen: str = "") -> bool:
        """Move a schedule on from the moment that it stood at and make its jobs, in one transaction; false, and
        nothing is done, where another scheduler was faster."""
        database = self._jobs.database
        with database.turn():
            moved = database.run(
                "UPDATE tongqu_ticks SET due = ?, last = ?, seen = ? WHERE place = ? AND name = ? AND digest = ?"
                " AND paused = 0 AND due = ? AND seen = ?",
                (
                    due, tick.due if works else tick.last, seen, self._place, tick.name, tick.digest, tick.due,
                    tick.seen,
                ),
            )  # fmt: skip
            for work in works if moved else ():
                self._jobs.insert(work)
        if moved and works:
            database.ring()
        return bool(moved)

    def pause(self, name: str, *, paused: bool, due: float | None = None) -> None:
        """Stop a schedule, or let it go on at `due`; raises UnknownNameError."""
        database = self._jobs.database
        with database.turn():
            done = database.run(
                "UPDATE tongqu_ticks SET paused = ?, due = CASE WHEN ? = 1 THEN due ELSE ? END"
                " WHERE place = ? AND name = ?",
                (int(paused), int(paused), due, self._place, name),
            )
        if not done:
            raise UnknownNameError(f"there is no schedule {name!r}", path=name, params={"name": name})
        database.ring()
