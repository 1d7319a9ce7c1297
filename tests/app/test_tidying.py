"""A gateway collects its garbage at a pace that its size allows."""

from __future__ import annotations

import asyncio

import pytest

from tongqu.app.services.tidying import tidy


def test_the_longer_it_takes_the_seldomer_it_is_done() -> None:
    pauses: list[float] = []
    instants = iter([0.0, 0.001, 10.0, 10.2])

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(tidy(sleep, lambda: None, lambda: None, lambda: next(instants)))
    assert pauses == pytest.approx([30.0, 30.0, 200.0])


def test_all_is_walked_every_twentieth_time() -> None:
    """Between, callers wait only for what is new."""
    done: list[str] = []

    async def sleep(_: float) -> None:
        if len(done) == 41:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(tidy(sleep, lambda: done.append("young"), lambda: done.append("whole"), lambda: 0.0))
    assert [number for number, which in enumerate(done, 1) if which == "whole"] == [20, 40]
