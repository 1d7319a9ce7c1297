"""The cache at the reader's seam: one making for all who ask at once, nothing old after a change, nothing of others."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tongqu.core.errors import TongquError
from tongqu.gateway.cache.memory import Memory
from tongqu.gateway.cache.touches import ANY, Touches, tag
from tongqu.gateway.exchange import Held, Notes
from tongqu.gateway.problems import Problem
from tongqu.gateway.reading import Answer, Shelved
from tongqu.kit.serving.texts import dumps

if TYPE_CHECKING:
    from tongqu.gateway.cache.shared import SharedStore

FOLLOW_SECONDS = 0.2
T = TypeVar("T")
logger = logging.getLogger("tongqu.gateway")
Make = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Life:
    """How long an answer is fresh, and for how long after that it may be given while a new one is made; seconds."""

    fresh: float
    stale: float


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that is kept, and how old it is in seconds."""

    answer: Answer
    age: float


class Store(Protocol):
    """Where answers are kept."""

    async def get(self, kept: Shelved, tags: frozenset[str]) -> Found | None:
        """The answer, if no table it came from changed since; raises ConnectionError where nothing can be told."""
        ...

    async def mark(self, tags: frozenset[str]) -> Any:
        """How the tables stand now: an answer that is made from here on is kept with it."""
        ...

    async def put(self, kept: Shelved, tags: frozenset[str], answer: Answer, mark: Any, life: Life) -> None:
        """Keep an answer whose making began at the mark, unless a table changed since."""
        ...

    def held(self, kept: Shelved, tags: frozenset[str], answer: Answer, life: Life) -> Held | None:
        """The place of an answer that was got, if one can tell without waiting that it is still good."""
        ...

    def touched(self, tag: str) -> None:
        """Tables of the tag changed; `*`: any."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


class MemoryStore:
    """Answers of this process. `clock` is monotonic seconds."""

    def __init__(self, most: int, touches: Touches, clock: Callable[[], float]) -> None:
        self.memory: Memory[Answer] = Memory(most)
        self._touches = touches
        self._clock = clock

    async def get(self, kept: Shelved, tags: frozenset[str]) -> Found | None:
        """See Store."""
        found = self.memory.get(kept.digest)
        return None if found is None else Found(found.value, self._clock() - found.made)

    async def mark(self, tags: frozenset[str]) -> int:
        """See Store."""
        return self._touches.now

    async def put(self, kept: Shelved, tags: frozenset[str], answer: Answer, mark: Any, life: Life) -> None:
        """See Store."""
        if not self._touches.moved(tags, int(mark)):
            answer = _frozen(answer)
            self.memory.put(kept.digest, answer, self._clock(), _size(answer), tags)

    def held(self, kept: Shelved, tags: frozenset[str], answer: Answer, life: Life) -> Held | None:
        """See Store."""
        return InMemory(self, kept, tags, answer, life.fresh)

    def seconds(self) -> float:
        """The clock that ages are told by."""
        return self._clock()

    @property
    def touches(self) -> Touches:
        """What tells of changes."""
        return self._touches

    def touched(self, tag: str) -> None:
        """See Store."""
        if tag == ANY:
            self.memory.clear()
        else:
            self.memory.purge(tag)

    async def close(self) -> None:
        """See Store."""
        self.memory.clear()


class InMemory:
    """An answer in this process's memory (`exchange.Held`)."""

    __slots__ = ("_answer", "_digest", "_fresh", "_kept", "_memory", "_seconds", "_tags", "_touches")

    def __init__(self, store: MemoryStore, kept: Shelved, tags: frozenset[str], answer: Answer, fresh: float) -> None:
        self._memory, self._seconds, self._touches = store.memory, store.seconds, store.touches
        self._digest, self._tags, self._answer, self._fresh = kept.digest, tags, answer, fresh
        self._kept = kept

    @property
    def timed(self) -> bool:
        """See Held."""
        return any(api.policy.timed for api in self._kept.apis)

    def look(self) -> bool:
        """See Held."""
        return self._touches.look()

    def age(self) -> float | None:
        """See Held."""
        entry = self._memory.get(self._digest)
        if entry is None or entry.value is not self._answer or self._touches.doubtful(self._tags):
            return None
        age = self._seconds() - entry.made
        return age if age <= self._fresh else None


@dataclass(slots=True)
class _Flight:
    """An answer that is being made, and what was known of changes when that began."""

    task: asyncio.Task[Answer]
    began: int


class Cache:
    """The `reading.Shelf` of the gateway. Belongs to one event loop.

    Given are only answers whose API and all related ones say `cache:`, that show nobody's personal data as they are,
    and of whose tables no change is known and none is being made; each question looks at the feed first, so what the
    gateway or a pipeline of the same home wrote is seen by the next question, whatever process it meets.
    """

    def __init__(self, touches: Touches, store: Store) -> None:
        self._touches = touches
        self._store = store
        self._flights: dict[bytes, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        touches.listeners.append(store.touched)

    async def answer(self, kept: Shelved, make: Make, notes: Notes) -> Answer:
        """See reading.Shelf. `notes.cache` becomes `hit`, `stale`, `miss` or `bypass`, and stays empty for APIs that
        have no cache; for the first two `notes.more["age"]` tells the answer's age in whole seconds."""
        notes.held = None
        life = life_of(kept)
        if life is None:
            return await make()
        tags = _tags(kept.tables)
        if not kept.cacheable or not self._touches.look() or self._touches.doubtful(tags):
            notes.cache = "bypass"
            return await make()
        try:
            found = await self._store.get(kept, tags)
        except ConnectionError:
            notes.cache = "bypass"
            return await self._flown(kept, tags, make, None)
        if found is None or found.age > life.fresh + life.stale:
            notes.cache = "miss"
            return await self._flown(kept, tags, make, life)
        notes.more["age"] = int(found.age)
        if found.age <= life.fresh:
            notes.held = None if notes.cache else self._store.held(kept, tags, found.answer, life)
            notes.cache = "hit"
        else:
            notes.cache = "stale"
            self._flight(kept, tags, make, life)
        return found.answer

    def clear(self) -> None:
        """Forget everything that is kept."""
        self._touches.forget()

    def follow(self, store: SharedStore) -> None:
        """Tell other replicas what changed even while nobody asks here; ends with `close`."""

        async def telling() -> None:
            while True:
                await asyncio.sleep(FOLLOW_SECONDS)
                self._touches.look()
                await store.tell()

        self._task(telling())

    async def close(self) -> None:
        """End what is being made, and release the store and the feed."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.close()
        self._touches.close()

    async def _flown(self, kept: Shelved, tags: frozenset[str], make: Make, life: Life | None) -> Answer:
        """The answer of the making under way, or of a new one; a caller that leaves does not end it."""
        return await asyncio.shield(self._flight(kept, tags, make, life).task)

    def _flight(self, kept: Shelved, tags: frozenset[str], make: Make, life: Life | None) -> _Flight:
        found = self._flights.get(kept.digest)
        if found is not None and not self._touches.moved(tags, found.began):
            return found
        flight = _Flight(self._task(self._made(kept, tags, make, life)), self._touches.now)
        self._flights[kept.digest] = flight

        def landed(task: asyncio.Task[Answer]) -> None:
            if self._flights.get(kept.digest) is flight:
                del self._flights[kept.digest]
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, Problem | TongquError):
                logger.debug("an answer could not be made", exc_info=error)

        flight.task.add_done_callback(landed)
        return flight

    async def _made(self, kept: Shelved, tags: frozenset[str], make: Make, life: Life | None) -> Answer:
        try:
            mark = await self._store.mark(tags) if life is not None else None
        except ConnectionError:
            life = None
        answer = await make()
        if life is not None and self._touches.look() and not self._touches.doubtful(tags):
            with suppress(ConnectionError):  # it was made all the same
                await self._store.put(kept, tags, answer, mark, life)
        return answer

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def life_of(kept: Shelved) -> Life | None:
    """The shortest life among the APIs that were read; None if one of them keeps no answers."""
    fresh = stale = math.inf
    for api in kept.apis:
        entry = api.entry.cache
        if entry is None or not entry.seconds:
            return None
        fresh, stale = min(fresh, entry.seconds), min(stale, entry.stale_seconds)
    return Life(fresh, stale)


@lru_cache(maxsize=4096)
def _tags(tables: frozenset[str]) -> frozenset[str]:
    return frozenset(map(tag, tables))


def _frozen(answer: Answer) -> Answer:
    """The answer with rows that nobody can change."""
    return replace(answer, values=tuple(tuple(row) for row in answer.values)) if answer.values else answer


def _size(answer: Answer) -> int:
    return len(answer.body) + (len(dumps(list(map(list, answer.values)))) * 4 if answer.values else 0)
