"""A caller that is gone when the server says goodbye leaves no failed task behind."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

from tongqu.gateway.exchange import Notes
from tongqu.gateway.live.handler import LiveHandler
from tongqu.gateway.problems import Problem


class Gone:
    """A WebSocket whose caller subscribes and has left when the next message is sent."""

    def __init__(self) -> None:
        self.said = 0
        self.left = asyncio.Event()
        self._texts = ['{"type":"subscribe","id":"a"}']

    async def accept(self, protocol: str = "") -> None:
        del protocol

    async def receive(self) -> str | None:
        if self._texts:
            return self._texts.pop()
        await self.left.wait()
        return None

    async def send(self, text: str) -> None:
        del text
        self.said += 1
        if self.said > 1:
            self.left.set()
            raise ConnectionResetError("the caller has left")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        del code, reason


class Ending:
    """A subscription that the server ends."""

    def mark(self) -> str:
        return "1"

    async def next(self) -> list[Any]:
        raise Problem("live.ended")

    def leave(self) -> None:
        return


async def subscribe(*_: Any) -> Ending:
    return Ending()


def test_who_is_gone_when_the_server_stops_leaves_no_failed_task() -> None:
    unheard: list[dict[str, Any]] = []

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
        publication = SimpleNamespace(api=lambda version, name: None)
        request: Any = SimpleNamespace(
            path="/live/v1/orders", pairs=list, notes=Notes(), publication=publication, language="en"
        )
        hub: Any = SimpleNamespace(subscribe=subscribe)
        identify: Any = None
        await LiveHandler(hub, identify).talk(request, Gone())
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(talk())
    gc.collect()
    assert unheard == []
