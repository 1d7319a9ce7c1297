"""What a running gateway gives to its management."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.settings import GatewayEntry

if TYPE_CHECKING:
    from tongqu.app.services.composing import Gateway
    from tongqu.gateway.auth.assembled import Identity
    from tongqu.store.audit.trail import Trail
    from tongqu.store.home import Home


@dataclass(frozen=True)
class Managed:
    """Parts of one serving process. `token` is that of `serve.json`, `state` what `/readyz` tells the owner, `entry`
    the protection that counts now, `sums` the numbers of all processes, `key` a secret of this home for CSRF tokens."""

    identity: Identity
    trail: Trail
    token: str
    key: bytes
    state: Callable[[], Mapping[str, Any]]
    entry: Callable[[], GatewayEntry]
    sums: Callable[[], Mapping[str, float]]


class Managing(Protocol):
    """The handler of `/manage`."""

    async def handle(self, request: Request) -> Reply:
        """See exchange.Handler."""
        ...

    def retire(self) -> None:
        """End what would never end by itself."""
        ...

    def close(self) -> None:
        """Let go of what it started; may take a while."""
        ...


Manage = Callable[[Managed], Managing]


def managed(home: Home, gateway: Gateway, token: str, state: Callable[[], Mapping[str, Any]]) -> Managed:
    """The parts of a composed gateway."""
    key = hmac.digest(home.gateway_key.read_bytes(), b"tongqu csrf", "sha256")
    return Managed(gateway.identity, gateway.audit.trail, token, key, state, lambda: gateway.entry, gateway.board.sums)
