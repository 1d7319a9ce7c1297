"""An unstable network on the way to a system: a proxy on this machine whose connections are delayed, reset or cut.

The fault proxy is part of `tongqu.testing`, which is above the application, so it is reached by name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from tongqu.catalog.cases.entries import Network
from tongqu.core.settings import Secret
from tongqu.kit.egress.settings import HopSettings, Networked

_LATE_MS = 250
_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 5.0


@contextmanager
def disturbed(settings: Networked, network: Network) -> Iterator[Networked]:
    """The settings with a way through a bad network, which is first on the way and holds as long as the block. Host
    names and certificates stay those of the system."""
    forward: Any = import_module("tongqu.testing.services.forward_proxies").ForwardProxy
    fault: Any = import_module("tongqu.testing.services.proxy").FaultProxy
    with forward() as way, fault(way.host, way.port) as proxy:
        done = threading.Event()
        helper = threading.Thread(target=_reset, args=(proxy, done), daemon=True)
        _apply(proxy, network)
        if network == "reset":
            helper.start()
        hop = HopSettings(proxy=Secret(f"http://{proxy.host}:{proxy.port}"))
        try:
            yield settings.model_copy(update={"via": (hop, *settings.via)})
        finally:
            done.set()
            if helper.is_alive():
                helper.join(_PATIENCE_SECONDS)


def _apply(proxy: Any, network: Network) -> None:
    if network in ("latency", "reset"):
        proxy.latency(_LATE_MS)
    elif network == "cut":
        proxy.cut()
    elif network == "half_open":
        proxy.half_open()
    else:
        pieces = iter(range(1 << 30))
        proxy.drop_replies(after=lambda data: bool(data) and next(pieces) == 1)  # the first piece asks the proxy


def _reset(proxy: Any, done: threading.Event) -> None:
    """Reset the first connection while its answer is on the way."""
    left = _PATIENCE_SECONDS
    while left > 0 and not proxy.connections and not done.wait(_LOOK_SECONDS):
        left -= _LOOK_SECONDS
    if not done.wait(_LATE_MS / 2000):
        proxy.reset()
