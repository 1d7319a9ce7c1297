"""Counts of several replicas in one Redis: all scopes of a request in one round trip, all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tongqu.gateway.limit.rates import SECOND, Meter, Rate, Taken

PREFIX = "tongqu:limit:"
PATIENCE = 0.25
"""Seconds that a request waits for Redis."""
REST = 1.0
"""Seconds after a failure during which Redis is not asked."""

SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local told, after, allowed = {}, {}, true
for i, key in ipairs(KEYS) do
  local cost, burst, weight = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  local before = math.max(tonumber(redis.call('GET', key) or '0'), now)
  local over = before + cost * weight - now - cost * burst
  after[i] = before + cost * weight
  told[i] = {over > cost * 0.01 and 0 or 1, string.format('%.3f', before - now), string.format('%.3f', over)}
  if over > cost * 0.01 then allowed = false end
end
if allowed then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.3f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1000)
  end
end
return told
"""
"""GCRA by the server's own clock. A key holds microseconds since 1970 and lives one second longer than it matters."""


@dataclass(slots=True)
class Asked:
    """How often limits were decided where, for metrics."""

    shared: int = 0
    local: int = 0
    failures: int = 0


class SharedMeter:
    """As `Meter.take`, in Redis. While Redis cannot be reached each replica counts for itself (`healthy` is False), so
    that callers get at most the limit times the number of replicas, and no call fails because of Redis.

    Belongs to the event loop that first uses it. `now` is monotonic, in nanoseconds. Redis 4 or later.
    """

    def __init__(self, url: str, now: Callable[[], int], local: Meter | None = None, patience: float = PATIENCE):
        import redis.asyncio as aioredis

        pool: Any = aioredis.BlockingConnectionPool.from_url(
            url, socket_timeout=patience, socket_connect_timeout=patience, max_connections=32, timeout=patience
        )
        self._redis: Any = aioredis.Redis.from_pool(pool)
        self._script = self._redis.register_script(SCRIPT)
        self._patience = patience
        self._now = now
        self._local = Meter() if local is None else local
        self._rest_until = 0
        self.asked = Asked()
        self.healthy = True
        """Whether the last question was answered by Redis."""

    async def take(self, wanted: Sequence[tuple[Rate, str]], weights: Sequence[int] = ()) -> list[Taken]:
        """Take one request at all of the rates or at none; `weights` as in `Meter.take`."""
        if not wanted:
            return []
        now = self._now()
        if now >= self._rest_until:
            told = await self._ask(wanted, weights or [1] * len(wanted))
            if told is not None:
                self.asked.shared += 1
                return told
            self._rest_until = self._now() + int(REST * SECOND)
        self.asked.local += 1
        return self._local.take(wanted, now, weights)

    async def close(self) -> None:
        """Release the connections; may be called twice."""
        with suppress(OSError):
            await self._redis.aclose()

    async def _ask(self, wanted: Sequence[tuple[Rate, str]], weights: Sequence[int]) -> list[Taken] | None:
        from redis.exceptions import RedisError

        keys = [f"{PREFIX}{rate.name}:{rate.requests}/{rate.seconds}/{rate.burst}:{key}" for rate, key in wanted]
        arguments: list[float] = []
        for (rate, _), weight in zip(wanted, weights, strict=True):
            arguments += (rate.seconds * 1e6 / rate.requests, rate.burst, min(weight, rate.burst))
        try:
            async with asyncio.timeout(self._patience * 2):
                answer = await self._script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError):
            self.asked.failures += 1
            self.healthy = False
            return None
        self.healthy = True
        let_through = all(int(one[0]) for one in answer)
        counted = [
            min(weight, rate.burst) if let_through else 0 for (rate, _), weight in zip(wanted, weights, strict=True)
        ]
        return [_taken(rate, one, times) for (rate, _), one, times in zip(wanted, answer, counted, strict=True)]


def _taken(rate: Rate, answer: Sequence[bytes], counted: int) -> Taken:
    cost = rate.seconds * 1e6 / rate.requests
    used = float(answer[1]) + cost * counted
    left = max(0, int((cost * rate.burst - used) / cost + 0.01))
    return Taken(rate, bool(int(answer[0])), left, used / 1e6, max(0.0, float(answer[2]) / 1e6))
