"""Who may take many rows: a budget for each caller and API, more when a second person allows it; odd speed is told."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.core.policy import Actor
from tongqu.gateway.addresses import block
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.settings import SECONDS
from tongqu.store.exports import Budget, Exports

if TYPE_CHECKING:
    from tongqu.gateway.publication import Api

logger = logging.getLogger("tongqu.gateway")
declare(
    {
        "export.approval": Kind(
            403, "so many rows were taken that a second person must allow more", "已取数据过多，继续导出须经第二人批准"
        ),
    }
)
_MINUTE = 60.0
_FAST = 10.0
"""Times the usual rows of a minute that are odd."""
_LEAST = 1000
"""Rows of a minute below which nothing is odd."""
_MINUTES = 5
"""Minutes with calls before anything is usual."""
_KEPT = 10_000
TAKING: ContextVar[Taker | None] = ContextVar("taking", default=None)
"""Who takes the rows that are being read, where somebody counts."""


@dataclass
class _Pace:
    """Rows of the present minute, and what was usual in those before it."""

    minute: int
    rows: int = 0
    usual: float = 0.0
    minutes: int = 0
    told: bool = False
    refused: float = 0.0

    def odd(self, rows: int, minute: int) -> bool:
        """Count rows; whether they make this minute odd, once."""
        if minute != self.minute:
            self.usual += (self.rows - self.usual) / min(self.minutes + 1, 60)
            self.minutes += 1
            self.minute, self.rows, self.told = minute, 0, False
        self.rows += rows
        fast = self.minutes >= _MINUTES and self.rows >= max(_LEAST, self.usual * _FAST)
        odd, self.told = fast and not self.told, fast or self.told
        return odd


class Exporting:
    """Counts rows of APIs that say `export`. `now` is Unix seconds, `alert` is told of what a person should look at (in
    a thread): what, and about it. For one event loop."""

    def __init__(self, exports: Exports, now: Callable[[], float], alert: Callable[..., Any]) -> None:
        self._exports = exports
        self._now = now
        self._alert = alert
        self._paces: OrderedDict[tuple[str, str], _Pace] = OrderedDict()
        self.odd = 0
        """How often somebody was oddly fast or at the end of a budget."""

    async def take(self, who: str, api: Api, rows: int) -> Callable[[int], Any]:
        """Count `rows` before they are read; what is given back is told how many it were. Raises Problem
        `export.approval`."""
        budget, at = budget_of(api), self._now()
        if budget is None:
            return _nothing
        taken = await asyncio.to_thread(self._exports.take, who, api.path, rows, budget, at)
        if taken is None:
            pace = self._pace(who, api.path)
            if at - pace.refused >= _MINUTE:
                pace.refused = at
                await self._tell("export.refused", who, api, budget.rows)
            raise Problem("export.approval", f"{budget.rows} rows may be taken without; that you ask for more is noted")

        async def read(found: int) -> None:
            if found < rows:
                await asyncio.to_thread(self._exports.give_back, who, api.path, rows - found, budget, at)
            if self._pace(who, api.path).odd(found, int(at // _MINUTE)):
                await self._tell("export.fast", who, api, found)

        return read

    def _pace(self, who: str, api: str) -> _Pace:
        found = self._paces.get((who, api))
        if found is None:
            found = self._paces[who, api] = _Pace(int(self._now() // _MINUTE))
            if len(self._paces) > _KEPT:
                self._paces.popitem(last=False)
        return found

    async def _tell(self, what: str, who: str, api: Api, rows: int) -> None:
        self.odd += 1
        logger.warning("%s: %s of %s, %d rows", what, who, api.path, rows)
        await asyncio.to_thread(self._alert, "alert", what=what, who=who, api=api.name, version=api.version, rows=rows)


@dataclass(frozen=True)
class Taker:
    """One caller, whose rows are counted."""

    exporting: Exporting
    who: str

    @classmethod
    def of(cls, exporting: Exporting, actor: Actor) -> Taker:
        """The caller; of nobody the network."""
        return cls(exporting, actor.id if actor.known else f"anonymous@{block(actor.address)}")

    async def take(self, api: Api, rows: int) -> Callable[[int], Any]:
        """See Exporting.take."""
        return await self.exporting.take(self.who, api, rows)


def budget_of(api: Api) -> Budget | None:
    """What may be taken of an API; None: it is not counted."""
    entry = api.entry.export
    return None if entry is None else Budget(entry.rows, SECONDS[entry.per])


async def _nothing(found: int) -> None:
    """Nothing was counted."""
