"""Rows that were taken in by `/ingest`: how many wait, and those that could not be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tongqu.store.home import Home
    from tongqu.store.intake import SqliteIntake


@dataclass(frozen=True)
class TakenIn:
    """Every method gives the document that a command prints; no values of rows are in any."""

    home: Home

    def list(self, limit: int) -> dict[str, Any]:
        """How many parcels wait, and the newest of those that could not be written."""
        with self._opened() as intake:
            dead = intake.dead_ones(limit) if intake else []
            parcels = [
                {"id": one.position, "api": one.target, "code": one.problem, "bytes": len(one.body),
                 "at": datetime.fromtimestamp(one.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")}
                for one in dead
            ]  # fmt: skip
            return {"waiting": intake.depth() if intake else 0, "dead": parcels}

    def replay(self) -> dict[str, Any]:
        """Let those that could not be written be tried again."""
        with self._opened() as intake:
            return {"replayed": intake.replay() if intake else 0}

    def drop(self, id: int) -> dict[str, Any]:
        """Forget one that could not be written; how many were forgotten."""
        with self._opened() as intake:
            return {"dropped": intake.drop(id) if intake else 0}

    @contextmanager
    def _opened(self) -> Iterator[SqliteIntake | None]:
        """The queue; none before anything was ever served: looking creates nothing."""
        from tongqu.store.intake import SqliteIntake

        intake = SqliteIntake.open(self.home) if self.home.intake.exists() else None
        try:
            yield intake
        finally:
            if intake is not None:
                intake.close()
