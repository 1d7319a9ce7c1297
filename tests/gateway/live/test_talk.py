"""A WebSocket that says much and subscribes to nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.rest.plant import QUALITY, asked, plant

from tongqu.gateway.live import handler
from tongqu.gateway.live.handler import LiveHandler
from tongqu.gateway.live.hub import Hub
from tongqu.gateway.stages import Nobody
from tongqu.store.feed import Feed


class Chatterbox:
    """A caller who pings without end."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.closed: tuple[int, str] | None = None

    async def accept(self, protocol: str = "") -> None:
        del protocol

    async def receive(self) -> str | None:
        await asyncio.sleep(0.005)
        return '{"type":"ping"}'

    async def send(self, text: str) -> None:
        self.heard.append(text)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = (code, reason)


def test_messages_do_not_lengthen_the_time_to_subscribe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "GREETING_SECONDS", 0.2)

    async def whole() -> Chatterbox:
        async with plant(tmp_path) as there:
            feed = Feed(tmp_path / "feed.db")
            identify: Any = Nobody()
            hub = Hub(feed, there.reader, identify, lambda: there.publication, b"k" * 32)
            request = asked(there.publication, "GET", "items", b"", actor=QUALITY, headers={})
            request.path, socket = "/live/v1/items", Chatterbox()
            try:
                async with asyncio.timeout(60):
                    await LiveHandler(hub, identify).talk(request, socket)
            finally:
                feed.close()
            return socket

    socket = asyncio.run(whole())
    assert socket.closed == (4400, "nothing was subscribed")
    assert socket.heard
