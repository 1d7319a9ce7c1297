"""Replicas that count in one Redis, and what becomes of limits when it dies. Needs redis-server."""

from __future__ import annotations

import asyncio
import time

from tongqu.gateway.limit.rates import SECOND, Rate
from tongqu.gateway.limit.shared import SharedMeter
from tongqu.testing.services import Redis, start_redis


def test_two_replicas_let_exactly_the_limit_through(redis: Redis) -> None:
    rate, url = Rate("api", 100, 3600), redis.database()

    async def ask() -> list[bool]:
        one, other = (SharedMeter(url, time.monotonic_ns, patience=5) for _ in range(2))
        wanted = [(rate, "mes")]
        told = await asyncio.gather(*((one if turn % 2 else other).take(wanted) for turn in range(150)))
        await one.close()
        await other.close()
        assert one.asked.local == other.asked.local == 0
        return [taken[0].allowed for taken in told]

    assert sum(asyncio.run(ask())) == 100


def test_scopes_are_taken_together_in_one_round_trip(redis: Redis) -> None:
    async def ask() -> list[list[tuple[bool, int]]]:
        meter = SharedMeter(redis.database(), time.monotonic_ns, patience=5)
        wanted = [(Rate("client", 10, 3600), "mes"), (Rate("api", 2, 3600), "mes x")]
        told = [[(one.allowed, one.left) for one in await meter.take(wanted)] for _ in range(4)]
        await meter.close()
        return told

    assert asyncio.run(ask()) == [
        [(True, 9), (True, 1)],
        [(True, 8), (True, 0)],
        [(True, 8), (False, 0)],
        [(True, 8), (False, 0)],
    ]


def test_a_request_that_weighs_more_takes_more(redis: Redis) -> None:
    async def ask() -> list[tuple[bool, int]]:
        meter = SharedMeter(redis.database(), time.monotonic_ns, patience=5)
        wanted = [(Rate("api", 6, 3600), "mes x")]
        told = [(one.allowed, one.left) for weight in (4, 3, 2) for one in await meter.take(wanted, [weight])]
        await meter.close()
        return told

    assert asyncio.run(ask()) == [(True, 2), (False, 2), (True, 0)]


def test_keys_are_gone_when_they_no_longer_matter(redis: Redis) -> None:
    async def ask() -> int:
        url = redis.database()
        meter = SharedMeter(url, time.monotonic_ns, patience=5)
        await meter.take([(Rate("api", 60, 60), "mes")])
        import redis.asyncio as aioredis

        client = aioredis.from_url(url)
        lives = int(await client.pttl((await client.keys("*"))[0]))
        await client.aclose()
        await meter.close()
        return lives

    assert 1000 < asyncio.run(ask()) <= 2000


def test_a_dead_redis_leaves_each_replica_its_own_limit() -> None:
    now = [0]

    async def ask() -> None:
        with start_redis() as server:
            meter = SharedMeter(server.database("1"), lambda: now[0], patience=5)
            wanted = [(Rate("api", 3, 3600), "mes")]
            assert (await meter.take(wanted))[0].left == 2
            server.kill9()
            told = [(await meter.take(wanted))[0].allowed for _ in range(4)]
            assert told == [True, True, True, False]
            assert (meter.healthy, meter.asked.failures, meter.asked.local) == (False, 1, 4)
            server.restart()
            now[0] += 2 * SECOND
            assert (await meter.take(wanted))[0].left == 2
            assert meter.healthy
            await meter.close()

    asyncio.run(ask())
