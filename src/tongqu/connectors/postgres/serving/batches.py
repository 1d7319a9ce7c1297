"""Concurrent questions of one shape become one round trip: those that come together, or while some are under way.

Nobody waits for company longer than the event loop needs to read what has arrived. Each set of parameters is a row of
`unnest`, beside which the statement runs by itself (LATERAL), so that answers never mix; questions without parameters
are one question.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Rows = Sequence[Any]
Alone = Callable[[Sequence[Any]], Awaitable[Rows]]
Together = Callable[[Sequence[Sequence[Any]]], Awaitable[Sequence[Rows]]]
Waiting = tuple[Sequence[Any], "asyncio.Future[Rows | BaseException | None]"]

UNDER_WAY = 2
"""Round trips of one shape at the same time before others gather, where they are quick."""
LANES = 8
"""The same where they are slow: then the database works beside itself, and one more round trip costs nothing."""
MOST = 32
"""Questions of one round trip."""
BUDGET_SECONDS = 0.1
"""How long a round trip should take: so many questions go together as have room in it."""
_NEW = 0.2
"""The share of the newest round trip in what a question is thought to take."""
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([0-9]*)""")
"""Literals and quoted names, which are left alone, and numbered parameters."""
_OTHER = re.compile(r"[\w&]''|--|/\*")
"""Literals in other spellings (`E'…'`), whose end is found otherwise, and comments."""


def joined_sql(sql: str, types: Sequence[str]) -> str:
    """The statement for many sets of parameters, one array per parameter; rows come with the number of their set.

    The rows of one set keep the statement's order, as a nested loop goes. `sql` passed `can_join`.
    """
    names = [f"p{number}" for number in range(1, len(types) + 1)]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    inner = _TOKEN.sub(lambda found: f"_p.p{found[1]}" if found[1] else found[0], sql)
    return (
        f"SELECT _p.n, _r.* FROM unnest({arrays}) WITH ORDINALITY AS _p({', '.join(names)}, n) "
        f"CROSS JOIN LATERAL ({inner}) _r"
    )


def can_join(sql: str, types: Sequence[str]) -> bool:
    """Whether the statement can be asked for many sets of parameters at once."""
    plain = all(re.fullmatch(r"[a-z_0-9]+", kind) and not kind.startswith("_") for kind in types)
    if not plain or any(found[1] == "" for found in _TOKEN.finditer(sql)):
        return False
    return not _OTHER.search(_TOKEN.sub(lambda found: "''" if found[0].startswith("'") else "", sql))


class Shape:
    """The questions of one shape. `together` gives one list of rows per set of values, in order."""

    def __init__(self, alone: Alone, together: Together):
        self._alone = alone
        self._together = together
        self._under_way: dict[asyncio.Task[None], Sequence[Waiting]] = {}
        self._gathered: list[Waiting] = []
        self._called = False
        self._each = 0.0

    @property
    def _most(self) -> int:
        """How many questions go together now: one slow question keeps few others waiting."""
        return MOST if self._each * MOST <= BUDGET_SECONDS else max(1, int(BUDGET_SECONDS / self._each))

    @property
    def _free(self) -> bool:
        """Whether one more round trip may begin."""
        return len(self._under_way) < (UNDER_WAY if self._each * MOST <= BUDGET_SECONDS else LANES)

    async def ask(self, values: Sequence[Any]) -> Rows:
        """The rows for these values. What goes wrong together is asked again alone, so that it fails for itself."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Rows | BaseException | None] = loop.create_future()
        self._gathered.append((values, turn))
        if not self._called and self._free:
            self._called = True
            loop.call_soon(self._go)
        try:
            found = await turn
        except asyncio.CancelledError:
            self._left()
            raise
        if found is None:
            return await self._alone(values)
        if isinstance(found, BaseException):
            raise found
        return found

    def _left(self) -> None:
        """End round trips that nobody waits for any more."""
        for task, batch in self._under_way.items():
            if all(turn.done() for _, turn in batch):
                task.cancel()

    def _go(self) -> None:
        """Send those that have gathered."""
        self._called = False
        waiting = [one for one in self._gathered if not one[1].done()]
        while waiting and self._free:
            batch, waiting = waiting[: self._most], waiting[self._most :]
            task = asyncio.get_running_loop().create_task(self._send(batch))
            self._under_way[task] = batch
            task.add_done_callback(self._sent)
        self._gathered = waiting

    def _sent(self, task: asyncio.Task[None]) -> None:
        for _, turn in self._under_way.pop(task):
            if not turn.done():  # the task was ended from outside
                turn.cancel()
        if self._gathered:
            self._go()

    async def _send(self, batch: Sequence[Waiting]) -> None:
        found: Sequence[Rows | BaseException | None]
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            if len(batch) > 1:
                found = await self._together([values for values, _ in batch])
            else:
                found = [await self._alone(batch[0][0])]
        except Exception as error:  # noqa: BLE001  # whatever it is: who is alone hears it, each of many asks alone
            found = [error] if len(batch) == 1 else [None] * len(batch)
        self._each += ((clock() - began) / len(batch) - self._each) * _NEW
        for (_, turn), rows in zip(batch, found, strict=True):
            if not turn.done():
                turn.set_result(rows)
