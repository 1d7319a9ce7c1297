"""`/manage` as a handler of the gateway: the application is made when it is first asked for."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from tongqu.app.http.face import Face
from tongqu.app.services.managed import Manage, Managed
from tongqu.app.wire import Wire
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.serving.asgi import AsgiHandler

logger = logging.getLogger("tongqu.manage")


class ManageHandler:
    """See exchange.Handler. Importing the web framework takes a moment, which is spent in a thread and only once."""

    def __init__(self, folder: Path, env: str, managed: Managed):
        self._face = Face(lambda: Wire(folder, env, _warn, "manage"), managed)
        self._inner: AsgiHandler | None = None
        self._making = asyncio.Lock()

    async def handle(self, request: Request) -> Reply:
        """See exchange.Handler."""
        async with self._making:
            if self._inner is None:
                self._inner = await asyncio.to_thread(self._made)
        return await self._inner.handle(request)

    def retire(self) -> None:
        """End the streams of events: whoever follows a run goes on where it was, elsewhere."""
        self._face.children.leaving.set()

    def close(self) -> None:
        """Ask the runs that were started from here to stop, and wait for them."""
        self._face.close()

    def _made(self) -> AsgiHandler:
        from tongqu.app.http.application import application

        return AsgiHandler(application(self._face))


def managing(wire: Wire) -> Manage:
    """What makes the handler of `/manage` for a project."""
    return lambda managed: ManageHandler(wire.folder, wire.env, managed)


def _warn(id: str, **params: Any) -> None:
    from tongqu.app.messages import t

    logger.warning("%s", t(id, **params))
