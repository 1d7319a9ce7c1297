"""Answers that several replicas keep in one Redis; what tells their tables' states lies beside them."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson

from tongqu.gateway.cache.keeping import Found, Life
from tongqu.gateway.cache.touches import ANY
from tongqu.gateway.reading import Answer, Shelved

PREFIX = "tongqu:cache:"
PATIENCE = 0.25
"""Seconds that a request waits for Redis."""
REST = 1.0
"""Seconds after a failure during which Redis is not asked."""
_MOST = 4 << 20
"""Larger answers are not sent to Redis."""
_KEPT = ("rows", "names", "total", "next", "offset", "limit", "fields", "masks", "subjects")


class SharedStore:
    """A `Store` in Redis 4 or later, of answers in bytes and of those in values, for whatever protocol they were made.

    Each table has a random word there; an answer is kept with the words as they stood before it was made, and given
    only while they are the same: one round trip tells both. A change gives a new word, so what one replica learns of
    ends the answers of all, whatever Redis evicted or lost meanwhile. A replica that cannot tell gives nothing kept.
    """

    def __init__(
        self, url: str, name: str, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        import redis.asyncio as aioredis

        pool: Any = aioredis.BlockingConnectionPool.from_url(
            url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, max_connections=32, timeout=PATIENCE
        )
        self._redis: Any = aioredis.Redis.from_pool(pool)
        self._prefix = f"{PREFIX}{name}:"
        self._now = now
        self._clock = clock
        self._rest_until = 0.0
        self._untold: dict[str, int] = {}
        self._count = 0

    async def get(self, kept: Shelved, tags: frozenset[str]) -> Found | None:
        """See Store."""
        await self._tell()
        names = sorted({*tags, ANY})
        key = self._prefix + kept.digest.hex()
        text, *words = await self._ask(lambda: self._redis.mget([key, *map(self._word, names)]))
        if text is None or None in words:
            return None
        head, _, body = text.partition(b"\n")
        told = orjson.loads(head)
        if told.pop("mark") != b",".join(words).decode():
            return None
        age = max(0.0, self._now() - told.pop("at"))
        values: Sequence[Sequence[Any]] = ()
        if told.pop("valued", False):
            values, body = _values(body), b""
        lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
        return Found(Answer(body=body, values=values, decision=kept.decision, **{**told, **lists}), age)

    async def mark(self, tags: frozenset[str]) -> Any:
        """See Store."""
        await self._tell()
        keys = list(map(self._word, sorted({*tags, ANY})))

        async def words() -> str:
            async with self._redis.pipeline(transaction=True) as pipe:
                for key in keys:
                    pipe.set(key, _new_word(), nx=True)
                pipe.mget(keys)
                *_, found = await pipe.execute()
            return b",".join(found).decode()

        return await self._ask(words)

    def held(self, kept: Shelved, tags: frozenset[str], answer: Answer, life: Life) -> None:
        """See Store: only Redis can tell."""

    async def put(self, kept: Shelved, tags: frozenset[str], answer: Answer, mark: Any, life: Life) -> None:
        """See Store. A word that changed since the mark makes that nobody ever takes it."""
        valued = not answer.body
        body = _told(answer.values) if valued else answer.body
        if len(body) > _MOST or (answer.values and not valued):
            return
        told = {"mark": mark, "at": self._now(), "valued": valued}
        head = orjson.dumps({**told, **{name: getattr(answer, name) for name in _KEPT}})
        key = self._prefix + kept.digest.hex()
        lives = int((life.fresh + life.stale) * 1000) + 1
        await self._ask(lambda: self._redis.set(key, head + b"\n" + body, px=lives))

    def touched(self, tag: str) -> None:
        """See Store."""
        self._count += 1
        self._untold[tag] = self._count

    async def tell(self) -> None:
        """Let all replicas know what changed here; without a question this is done by `Cache.follow`."""
        with suppress(ConnectionError):
            await self._tell()

    async def close(self) -> None:
        """See Store; may be called twice."""
        with suppress(OSError):
            await self._redis.aclose()

    async def _tell(self) -> None:
        """Give new words to what changed; nothing is given before that is done."""
        while self._untold:
            telling = dict(self._untold)

            async def moved(tags: tuple[str, ...] = tuple(telling)) -> None:
                async with self._redis.pipeline(transaction=True) as pipe:
                    for tag in tags:
                        pipe.set(self._word(tag), _new_word())
                    await pipe.execute()

            await self._ask(moved)
            for tag, count in telling.items():
                if self._untold.get(tag) == count:  # it did not change again meanwhile
                    del self._untold[tag]

    async def _ask(self, question: Callable[[], Any]) -> Any:
        from redis.exceptions import RedisError

        if self._clock() < self._rest_until:
            raise ConnectionError("Redis rests")
        try:
            async with asyncio.timeout(PATIENCE * 2):
                return await question()
        except (RedisError, OSError, TimeoutError) as error:
            self._rest_until = self._clock() + REST
            raise ConnectionError("Redis cannot be asked") from error

    def _word(self, tag: str) -> str:
        return f"{self._prefix}now:{tag}"


def _told(values: Sequence[Sequence[Any]]) -> bytes:
    """Rows of plain JSON values as bytes: decimals, lists and objects in an object that says which it is."""
    return json.dumps([[_marked(value) for value in row] for row in values], ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def _marked(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"d": str(value)}
    if isinstance(value, list | tuple):
        return {"l": [_marked(part) for part in value]}
    if isinstance(value, dict):
        return {"o": {name: _marked(part) for name, part in value.items()}}
    return value


def _values(body: bytes) -> tuple[tuple[Any, ...], ...]:
    rows = json.loads(body.decode("utf-8", "surrogatepass"))
    return tuple(tuple(_plain(value) for value in row) for row in rows)


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "d":
        return Decimal(inner)
    return [_plain(part) for part in inner] if kind == "l" else {name: _plain(part) for name, part in inner.items()}


def _new_word() -> str:
    return secrets.token_hex(8)
