"""An event loop whose connections to a host go where the egress says, for drivers that live in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tongqu.kit.egress.dial import Route


class PinnedLoop(asyncio.SelectorEventLoop):
    """Every connection by host and port asks for a route and goes to its addresses, one after the other; TLS still
    checks the certificate against the host the driver named. Make it with `asyncio.Runner(loop_factory=…)`; it is for
    one connection at a time, since asking blocks."""

    def __init__(self, route: Callable[[], Route]):
        super().__init__()
        self._route = route

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        """See asyncio; `host` and `port` only name the peer."""
        if host is None:
            return await super().create_connection(protocol_factory, host, port, **more)
        if more.get("ssl") and not more.get("server_hostname"):
            more["server_hostname"] = host
        route = self._route()
        *others, last = route.addresses
        for address in others:
            try:
                return await super().create_connection(protocol_factory, address, route.port, **more)
            except OSError:
                continue
        return await super().create_connection(protocol_factory, last, route.port, **more)
