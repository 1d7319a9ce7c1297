"""Writes what was taken in: many parcels in one transaction, the bad ones found by halving and laid aside."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from typing import Any

import orjson

from tongqu.core.errors import TongquError
from tongqu.core.server import Idempotency
from tongqu.gateway.exchange import Notes
from tongqu.gateway.faults import told
from tongqu.gateway.intake.handler import actor_of
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.rest.bodies import sent
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.tracing import Trace, Tracing, enter
from tongqu.gateway.writing import Edit, Writer
from tongqu.kit.trouble import Trouble
from tongqu.store.feed import Feed
from tongqu.store.intake import Intake, Kept

LEASE, LEASE_SECONDS = "intake", 5.0
LOOK_SECONDS = 0.05
PARCELS = 1000
KEEP_SECONDS = 7 * 86_400
_WAIT_SECONDS = 2.0
logger = logging.getLogger("tongqu.gateway")


@dataclass(frozen=True)
class Batch:
    """Parcels that are written in one transaction under one key; in the queue they stand in the batch `before` until
    it begins. `bad` is why a single one cannot be written."""

    key: str
    parcels: tuple[Kept, ...]
    api: Api
    header: dict[str, Any]
    rows: tuple[dict[str, Any], ...] = ()
    texts: bool = False
    before: str = ""
    bad: str = ""

    @property
    def positions(self) -> list[int]:
        """Where its parcels are."""
        return [one.position for one in self.parcels]


class Drainer:
    """Writes in the order of positions, from one process of a home at a time. What a batch holds is on disk before it
    is written, and its name is the idempotency key of its transaction: a crash neither loses nor doubles a row."""

    def __init__(
        self,
        intake: Intake,
        feed: Feed,
        writer: Writer,
        publication: Callable[[], Publication],
        *,
        holder: str,
        clock: Callable[[], float],
        sizes: SizesEntry,
        tracing: Tracing | None = None,
    ):
        self._intake = intake
        self._feed = feed
        self._writer = writer
        self._publication = publication
        self._holder = holder
        self._clock = clock
        self._sizes = sizes
        self.tracing = tracing
        self._leased = 0.0
        self.depth = 0
        """How many parcels waited at the last look."""
        self.trouble = Trouble("intake", "rows that were taken in cannot be written at the moment", logger)
        self._troubles: dict[str, Trouble] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                waited = _WAIT_SECONDS if await self.look() < 0 else LOOK_SECONDS
                self.trouble.over()
            except Exception as error:  # noqa: BLE001  # they are kept; the next look may do better
                waited = self.trouble.failed(error)
            await asyncio.sleep(waited)

    async def look(self) -> int:
        """Write what waits; how many parcels are over, or -1 when a source is away and they wait on."""
        if not self._mine():
            return 0
        over = 0
        away: set[str] = set()
        more = True
        while more:  # what waits for a source that is away keeps nobody else waiting
            kept = await asyncio.to_thread(self._intake.waiting, PARCELS, tuple(away))
            more = len(kept) >= PARCELS
            if not away:
                self.depth = len(kept) if not more else await asyncio.to_thread(self._intake.depth)
            found = set(away)
            for target, run in groupby(_uncut(kept), key=lambda one: one.target):
                if target in away:
                    continue
                done, whole = await self._tried_target(target, list(run))
                over += done
                if not whole:  # nor may what came later overtake it
                    away.add(target)
            more = more and away != found
        return -1 if away and not over else over

    async def _tried_target(self, target: str, parcels: Sequence[Kept]) -> tuple[int, bool]:
        said = f"rows that were taken in for {target} cannot be written at the moment"
        try:
            done = await self._target(target, parcels)
        except Exception as error:  # noqa: BLE001  # they are kept, and the parcels of others are written
            self._troubles.setdefault(target, Trouble("intake of", said, logger)).failed(error)
            return 0, False
        if done[1] and target in self._troubles:
            self._troubles.pop(target).over()
        return done

    def _mine(self) -> bool:
        now = self._clock()
        if now < self._leased + LEASE_SECONDS / 3:
            return True
        mine = self._feed.lease(LEASE, self._holder, LEASE_SECONDS)
        self._leased = now if mine else 0.0
        return mine

    async def _target(self, target: str, parcels: Sequence[Kept]) -> tuple[int, bool]:
        """How many of these parcels are over, and whether all are."""
        version, _, name = target.partition("/")
        publication = self._publication()
        api = publication.api(version, name)
        if api is None:
            if (version, name) in publication.degraded:
                return 0, False
            for one in parcels:
                await asyncio.to_thread(self._intake.dead, one.position, "api.unknown")
            return len(parcels), True
        over = 0
        for batch in self._batches(api, parcels):
            if not self._mine() or not await self._written(batch):
                return over, False
            over += len(batch.parcels)
        return over, True

    def _batches(self, api: Api, parcels: Sequence[Kept]) -> list[Batch]:
        """The parcels in their order, cut where sender or manner change, at the API's rows, and where an upsert meets a
        key again. Those that were in a batch before a crash are in it again."""
        made: list[Batch] = []
        open_rows: list[dict[str, Any]] = []
        opened: list[Kept] = []
        seen: set[tuple[str, ...]] = set()
        texts = False

        def shut() -> None:
            nonlocal open_rows, opened, seen
            if opened:
                key = opened[0].batch or f"{opened[0].position}-{opened[-1].position}-{secrets.token_hex(4)}"
                header = orjson.loads(opened[0].header)
                made.append(Batch(key, tuple(opened), api, header, tuple(open_rows), texts, opened[0].batch))
            open_rows, opened, seen = [], [], set()

        for parcel in parcels:
            try:
                rows = sent(parcel.body, orjson.loads(parcel.header)["media"], self._sizes)
            except Problem as problem:  # the sizes that are allowed changed after it was taken in
                shut()
                made.append(Batch("", (parcel,), api, {}, bad=problem.code))
                continue
            keys = _keys(api, rows.rows)
            same = opened and opened[0].header == parcel.header and opened[0].batch == parcel.batch
            fits = bool(parcel.batch) or (len(open_rows) + len(rows.rows) <= api.entry.limit.rows and not seen & keys)
            if not (same and fits and texts == rows.texts):
                shut()
            texts = rows.texts
            opened.append(parcel)
            open_rows += [dict(row) for row in rows.rows]
            seen |= keys
        shut()
        return made

    async def _written(self, batch: Batch) -> bool:
        """Whether the batch is over: written, or its bad parcels laid aside. False: its source is away, or another
        process writes what is in it."""
        if batch.bad:
            await asyncio.to_thread(self._intake.dead, batch.parcels[0].position, batch.bad)
            return True
        if not await asyncio.to_thread(self._intake.batched, batch.positions, batch.key, batch.before):
            return False
        problem = await self._tried(batch)
        if problem is None:
            await asyncio.to_thread(self._intake.done, batch.positions)
            return True
        if problem.kind.retryable or problem.code == "internal":
            logger.warning("%s parcels of %s wait: %s", len(batch.parcels), batch.api.path, problem.code)
            return False
        if len(batch.parcels) == 1:
            await asyncio.to_thread(self._intake.dead, batch.parcels[0].position, problem.code)
            return True
        for half in self._halves(batch):
            if not await self._written(half):
                return False
        return True

    def _halves(self, batch: Batch) -> list[Batch]:
        middle = len(batch.parcels) // 2
        made: list[Batch] = []
        for part in (batch.parcels[:middle], batch.parcels[middle:]):
            plain = [replace(one, batch="") for one in part]
            made += [replace(one, before=batch.key) for one in self._batches(batch.api, plain)]
        return made

    async def _tried(self, batch: Batch) -> Problem | None:
        enter(Trace.of(batch.parcels[0].trace), self.tracing)  # of many requests, the first tells of all
        verb = batch.header["verb"]
        edit = Edit(verb, batch.rows, missing="default", texts=batch.texts)
        made = blake2b(digest_size=24)
        for one in batch.parcels:
            made.update(one.body + b"\0")
        key = Idempotency(f"intake {batch.api.path}", batch.key, made.hexdigest(), KEEP_SECONDS)
        try:
            await self._writer.write(batch.api, actor_of(batch.header["actor"]), edit, key, Notes())
        except Problem as problem:
            return problem
        except TongquError as error:
            return told(error)
        return None


def _uncut(kept: Sequence[Kept]) -> Sequence[Kept]:
    """The parcels in their order, those of a batch together; without the last batch, where some of it may stand behind
    them."""
    last = kept[-1].batch if len(kept) >= PARCELS else ""
    if last and kept[0].batch != last:
        kept = [one for one in kept if one.batch != last]
    first: dict[str, int] = {}
    for one in kept:
        first[one.batch] = min(first.get(one.batch, one.position), one.position)
    return sorted(kept, key=lambda one: (first[one.batch] if one.batch else one.position, one.position))


def _keys(api: Api, rows: Sequence[Any]) -> set[tuple[str, ...]]:
    """The keys of rows that hold one."""
    names = api.dataset.key
    return {tuple(str(row[name]) for name in names) for row in rows if names and all(name in row for name in names)}
