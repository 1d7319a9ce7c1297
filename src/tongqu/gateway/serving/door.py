"""Two doors of one site: where administration has a port of its own, neither door leads to the other's rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from tongqu.gateway.exchange import Reply, Socket
from tongqu.gateway.gate import is_admin
from tongqu.gateway.stages import Head

if TYPE_CHECKING:
    from tongqu.gateway.ready.answers import Ready
    from tongqu.gateway.site import Site

Body = Callable[[int], Awaitable[bytes]]
_BOTH = ("/healthz", "/readyz")


class Answering(Protocol):
    """What a server needs of a site."""

    def refuse(self, head: Head) -> Reply | None:
        """See Site.refuse."""
        ...

    def malformed(self, peer: str, reply: Reply) -> None:
        """See Site.malformed."""
        ...

    def broke(self, head: Head) -> None:
        """See Site.broke."""
        ...

    async def answer(self, head: Head, body: Body) -> Reply:
        """See Site.answer."""
        ...

    async def converse(self, head: Head, body: Body, socket: Socket) -> Reply | None:
        """See Site.converse."""
        ...


def ready_of(site: Answering) -> Ready | None:
    """The answers of a site that stand ready, if it has such."""
    found: Ready | None = getattr(site, "ready", None)
    return found


class Door:
    """A site as one port shows it: with `admin` only what administrators use, else all but that; health is told at
    both. What is behind the other door is not there at this one."""

    def __init__(self, site: Site, *, admin: bool):
        self._site = site
        self._admin = admin

    @property
    def ready(self) -> Ready | None:
        """The site's answers that stand ready, which are none of the administrators'."""
        return None if self._admin else self._site.ready

    def refuse(self, head: Head) -> Reply | None:
        """See Site.refuse."""
        reply = self._site.refuse(head)
        if reply is None and head.target not in _BOTH and is_admin(head.target) is not self._admin:
            return self._site.away(head)
        return reply

    def malformed(self, peer: str, reply: Reply) -> None:
        """See Site.malformed."""
        self._site.malformed(peer, reply)

    def broke(self, head: Head) -> None:
        """See Site.broke."""
        self._site.broke(head)

    async def answer(self, head: Head, body: Body) -> Reply:
        """See Site.answer."""
        return await self._site.answer(head, body)

    async def converse(self, head: Head, body: Body, socket: Socket) -> Reply | None:
        """See Site.converse."""
        return await self._site.converse(head, body, socket)
