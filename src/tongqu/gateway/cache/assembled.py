"""The cache of one process, as its settings say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tongqu.gateway.cache.keeping import Cache, MemoryStore
from tongqu.gateway.cache.touches import Touches
from tongqu.kit.drivers import driver
from tongqu.store.feed import Feed

if TYPE_CHECKING:
    from tongqu.gateway.settings import AnswersEntry
    from tongqu.store.home import Home


def opened(home: Home, entry: AnswersEntry, project: str, resolve: Callable[[str], Any]) -> Cache:
    """The cache; `resolve` resolves the URL of Redis. Call it in the event loop that will use it."""
    touches = Touches(Feed.open(home), time.monotonic)
    if entry.redis is None:
        return Cache(touches, MemoryStore(entry.megabytes << 20, touches, time.monotonic))
    driver("redis", "gateway")
    from tongqu.gateway.cache.shared import SharedStore

    store = SharedStore(str(resolve(entry.redis)), project)
    cache = Cache(touches, store)
    cache.follow(store)
    return cache
