"""Concurrent questions of one shape become one round trip: while some are under way, the others gather and go together.

Nobody waits for company: a question goes at once as long as few of its shape are under way. Each set of parameters is
a row of `unnest`, beside which the statement runs by itself (LATERAL), so that answers never mix.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Rows = Sequence[Any]
Alone = Callable[[Sequence[Any]], Awaitable[Rows]]
Together = Callable[[Sequence[Sequence[Any]]], Awaitable[list[Rows]]]

UNDER_WAY = 2
"""Round trips of one shape at the same time before others gather."""
MOST = 16
"""Questions of one round trip."""
_NUMBER = re.compile(r"\$(\d+)")


def joined_sql(sql: str, types: Sequence[str], most: int) -> str:
    """The statement for many sets of parameters, one array per parameter; rows come with the number of their set.

    The rows of one set keep the statement's order, as a nested loop goes. `sql` passed `can_join`.
    """
    names = [f"p{number}" for number in range(1, len(types) + 1)]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    inner = _NUMBER.sub(lambda found: f"_p.p{found[1]}", sql)
    return (
        f"SELECT _p.n, _r.* FROM unnest({arrays}) WITH ORDINALITY AS _p({', '.join(names)}, n) "
        f"CROSS JOIN LATERAL ({inner} LIMIT {most}) _r"
    )


def can_join(sql: str, types: Sequence[str]) -> bool:
    """Whether the statement can be asked for many sets of parameters at once."""
    plain = all(re.fullmatch(r"[a-z_0-9]+", kind) and not kind.startswith("_") for kind in types)
    return bool(types) and plain and "'" not in sql and sql.count("$") == len(_NUMBER.findall(sql))


class Shape:
    """The questions of one shape. `together` gives one list of rows per set of values, in order."""

    def __init__(self, alone: Alone, together: Together):
        self._alone = alone
        self._together = together
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered: list[tuple[Sequence[Any], asyncio.Future[Rows | None]]] = []

    async def ask(self, values: Sequence[Any]) -> Rows:
        """The rows for these values. What goes wrong together is asked again alone, so that it fails for itself."""
        if self._under_way < UNDER_WAY:
            self._under_way += 1
            try:
                return await self._alone(values)
            finally:
                self._under_way -= 1
                self._go()
        turn: asyncio.Future[Rows | None] = asyncio.get_running_loop().create_future()
        self._gathered.append((values, turn))
        found = await turn
        return await self._alone(values) if found is None else found

    def _go(self) -> None:
        """Send those that have gathered."""
        waiting = [one for one in self._gathered if not one[1].done()]
        batch, self._gathered = waiting[:MOST], waiting[MOST:]
        if batch:
            self._under_way += 1
            task = asyncio.get_running_loop().create_task(self._send(batch))
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._under_way -= 1
        self._go()

    async def _send(self, batch: Sequence[tuple[Sequence[Any], asyncio.Future[Rows | None]]]) -> None:
        found: list[Rows] = []
        try:
            if len(batch) > 1:
                found = await self._together([values for values, _ in batch])
            else:
                found = [await self._alone(batch[0][0])]
        except Exception:  # noqa: BLE001  # whatever it is: each asks alone and fails for itself
            found = []
        for place, (_, turn) in enumerate(batch):
            if not turn.done():
                turn.set_result(found[place] if found else None)
