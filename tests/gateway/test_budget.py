"""The time of a call holds for all that is asked of the source for it, whatever the source does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.gateway.published import Database, actor, api, people

from tongqu.core.server import Cost, Limits, Page, Query
from tongqu.gateway.asking import Ask
from tongqu.gateway.exchange import Notes
from tongqu.gateway.reading import Reader


class Stuck(Database):
    """A source that works for ever on a query or on its plan."""

    def __init__(self, at: str) -> None:
        super().__init__("duckdb", "items", people())
        self.at, self.ended = at, False

    async def _stay(self, at: str) -> None:
        if at == self.at:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended = True

    async def explain(self, query: Query) -> Cost:
        del query
        await self._stay("explain")
        return Cost(1.0, 1.0)

    async def query(self, query: Query, format: str, limits: Limits) -> Page:
        del format, limits
        await self._stay("query")
        return self.page(query)


@pytest.mark.parametrize("at", ["explain", "query"])
def test_what_takes_longer_than_the_call_may_is_ended(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.gateway.reading._GRACE_SECONDS", 0.0)
    source = Stuck(at)
    made = api(source, people(), {"roles": ["r"]}, entry={"limit": {"seconds": 0.05, "cost": 10}})
    reader = Reader(b"k" * 32, lambda: 1000.0)
    notes: Any = Notes()
    with pytest.raises(TimeoutError):
        asyncio.run(reader.read(made, actor("r"), Ask(), "rows", notes))
    assert source.ended
    source.close()
