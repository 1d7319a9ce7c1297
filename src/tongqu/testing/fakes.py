"""A source, a sink and a clock without any outside: for tests of everything that stands on connectors.

    world = World()
    world.tables["orders"] = Stored(pa.table({"id": [1, 2]}), key=("id",))
    report = run(Job(plan_sync(FakeSource(world), FakeSink(World()), …)), silent, FakeClock().surroundings())

They keep the promises of the conformance kit. A world can be told to fail: `world.faults["commit"] = [error]` raises
the errors one after the other at the next calls of that name (`read`, `write`, `commit`, `reply`, `finish`, `open`);
`reply` fails after the commit was carried out, as a lost reply does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa

from tongqu.core.connector import Can, Connector, Session, Sink, Source
from tongqu.core.data import (
    BadRow,
    Batch,
    Checkpoint,
    Counts,
    Dataset,
    Deletes,
    Opened,
    Position,
    Read,
    Split,
    Started,
    Write,
    WriteMode,
    Written,
)
from tongqu.core.errors import AuthError, InvalidPlanError, NotFoundError
from tongqu.core.settings import Endpoint, Secret, titled
from tongqu.kit.ledger import fenced
from tongqu.kit.patterns import wanted
from tongqu.kit.sieve import sieved
from tongqu.meaning.settling import ArrowShape, Settled, settle
from tongqu.testing.clock import FakeClock
from tongqu.testing.world import Stored, Stream, World

__all__ = [
    "FakeClock", "FakeSession", "FakeSettings", "FakeSink", "FakeSource", "Stored", "World", "connector", "world",
]  # fmt: skip

MODES = (WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE)


class FakeSource(Source):
    """Reads a world's tables in the order of their rows; a position is the number of rows before it."""

    def __init__(self, world: World, password: str = ""):
        self._world = world
        self._password = password

    def check(self) -> Iterator[str]:
        """See Source.check; raises AuthError for another password than the world's."""
        _login(self._world, self._password)
        yield "login"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        found = [(n, t) for n, t in sorted(self._world.tables.items()) if wanted(n, patterns)]
        return [Dataset(name, stored.rows.schema, key=stored.key, rows=stored.rows.num_rows) for name, stored in found]

    def can_resume(self, dataset: Dataset) -> bool:
        """Always: positions are row numbers."""
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: equal ranges of row numbers."""
        rows = self._rows(dataset).num_rows
        count = max(1, min(wanted, rows))
        cuts = [rows * at // count for at in range(count + 1)]
        return [Split(str(n), dataset.name, {"from": cuts[n], "to": cuts[n + 1]}) for n in range(count)]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        rows = self._rows(read.dataset)
        at = int((read.after or {}).get("row", read.split.spec.get("from", 0)))
        end = int((read.until or {}).get("row", read.split.spec.get("to", rows.num_rows)))
        columns = list(read.columns or read.dataset.columns)
        while not read.stop.is_set():
            self._world.meet("read")
            size = min(read.batch_rows, read.chunk_rows, end - at)
            part = rows.slice(at, size).select(columns).combine_chunks().to_batches()
            at += size
            last = at >= end
            position: Position = {"row": at, **({"end": True} if last else {})}
            batch = part[0] if part else pa.RecordBatch.from_pylist([], schema=rows.select(columns).schema)
            yield Batch(read.dataset.name, batch, (read.until or position) if last else position)
            if last:
                return

    def acknowledge(self, split: Split, position: Position) -> None:
        """See Source.acknowledge: noted in `world.acknowledged`."""
        self._world.acknowledged.append((split.id, position))

    def _rows(self, dataset: Dataset) -> pa.Table:
        if dataset.name not in self._world.tables:
            raise NotFoundError(
                f"there is no table {dataset.name!r}", hint=f"there are: {', '.join(self._world.tables) or 'none'}"
            )
        return self._world.tables[dataset.name].rows


class FakeSink(Sink):
    """Writes a world's tables: append and replace by staging, upsert chunk by chunk; commits are atomic."""

    def __init__(self, world: World, password: str = ""):
        self.world = world
        self._password = password
        self._fences: dict[str, int] = {}
        self._settled: dict[str, Settled] = {}

    def modes(self) -> tuple[WriteMode, ...]:
        """Append, upsert and replace."""
        return MODES

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        _login(self.world, self._password)
        yield "login"

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start."""
        world = self.world
        with world.lock:
            before = world.runs.get(sync)
            if before is not None and sync not in world.finished and not restart:
                world.runs[sync] = Started(before.run, before.attempt + 1)
            else:
                world.runs[sync] = Started(run, 1)
            world.finished.discard(sync)
            for (owner, _), stream in world.streams.items():
                if owner == sync and restart:
                    stream.state, stream.position = "discarded", None
            return world.runs[sync]

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        del streams
        self.world.meet("end")
        with self.world.lock:
            if self.world.runs[sync].run == run:
                self.world.finished.add(sync)

    def open(self, write: Write) -> Opened:
        """See Sink.open."""
        world = self.world
        world.meet("open")
        if write.mode not in MODES or (write.mode is WriteMode.UPSERT and not write.key):
            raise InvalidPlanError(f"{write.mode.value!r} needs a key, or is no mode of this sink", path=write.stream)
        if write.deletes is not Deletes.IGNORE:
            raise InvalidPlanError("this sink finds no deletes", path=write.stream, hint="use deletes: ignore")
        with world.lock:
            stored = world.tables.get(write.dataset.name)
            settled = settle(write, ArrowShape(stored.rows.schema) if stored else None, None)
            self._settled[write.stream] = settled
            place = (write.sync, write.stream)
            before = world.streams.get(place)
            fence = before.fence + 1 if before else 1
            self._fences[write.stream] = fence
            if before is not None and before.run == write.run and before.state != "discarded":
                before.fence = fence
                if before.state == "finished":
                    return Opened(fence, {}, before.position, finished=True, counts=replace(before.counts))
                return Opened(fence, dict(before.splits), before.position)
            previous = before.position if before is not None else None
            world.streams[place] = Stream(write.run, fence, position=previous)
            return Opened(fence, {}, previous, changes=settled.changes)

    def held(self, write: Write) -> Stream:
        """The stream, if its fence is ours; raises FencedError."""
        stream = self.world.streams[(write.sync, write.stream)]
        if stream.fence != self._fences.get(write.stream):
            raise fenced(write.stream)
        return stream

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        self.world.meet("begin")
        with self.world.lock:
            self.held(write).splits = {split.id: Checkpoint(split, None, Counts()) for split in splits}

    def session(self, write: Write, split: Split) -> Session:
        """See Sink.session."""
        return FakeSession(self, self._settled[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        with self.world.lock:
            stream = self.held(write)
            done = stream.state == "finished"
            return Opened(stream.fence, dict(stream.splits), stream.position, done, replace(stream.counts))

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish."""
        self.world.meet("finish")
        write = replace(write, dataset=self._settled[write.stream].write.dataset)
        with self.world.lock:
            stream = self.held(write)
            if stream.state == "finished":
                return Written()
            if write.mode is not WriteMode.UPSERT:
                old = self.world.tables.get(write.dataset.name)
                parts = [old.rows] if old is not None and write.mode is WriteMode.APPEND else []
                self._store(write, [*parts, *stream.staged])
            elif write.dataset.name not in self.world.tables:
                self._store(write, [])
            stream.staged, stream.splits = [], {}
            stream.state, stream.position, stream.counts = "finished", position, replace(counts)
            return Written()

    def _store(self, write: Write, parts: Sequence[pa.Table]) -> None:
        schema = write.dataset.schema
        empty = schema.empty_table()
        names = {name for part in parts for name in part.schema.names} - set(schema.names)
        rows = pa.concat_tables([empty, *parts], promote_options="permissive").combine_chunks()
        kept = [*schema.names, *[name for name in rows.schema.names if name in names]]
        key = write.key if write.mode is not WriteMode.APPEND else ()
        self.world.tables[write.dataset.name] = Stored(rows.select(kept), key)

    def merged(self, write: Write, arriving: Sequence[pa.Table]) -> Written:
        """Merge rows into the table by key and count what was done."""
        stored = self.world.tables.get(write.dataset.name)
        rows = {_key(row, write.key): row for row in (stored.rows.to_pylist() if stored else [])}
        done, touched = Written(), {}
        for part in arriving:
            for row in part.to_pylist():
                key = _key(row, write.key)
                done.merged += key in touched
                touched[key] = row
        for key, row in touched.items():
            old = rows.get(key)
            if old is None:
                done.inserted += 1
            elif repr({**old, **row}) == repr(old):
                done.unchanged += 1
            else:
                done.updated += 1
            rows[key] = {**(old or {}), **row}
        fields = list(write.dataset.schema)
        if stored is not None:
            fields += [f for f in stored.rows.schema if f.name not in write.dataset.schema.names]
        table = pa.Table.from_pylist(list(rows.values()), schema=pa.schema(fields))
        self.world.tables[write.dataset.name] = Stored(table, write.key)
        return done

    def quarantined(
        self, limit: int = 1000, *, run: str | None = None, stream: str | None = None
    ) -> list[dict[str, Any]]:
        """See Sink.quarantined."""
        found = [r for r in self.world.quarantine if run in (None, r["run"]) and stream in (None, r["stream"])]
        return found[::-1][:limit]


class FakeSession(Session):
    """One split's transaction: rows wait here until `commit`."""

    def __init__(self, sink: FakeSink, settled: Settled, split: Split):
        self._sink = sink
        self._write, self._sieving = settled.write, settled.sieving
        self._split = split
        self._rows: list[pa.Table] = []

    def write(self, rows: pa.Table) -> Written:
        """See Session.write: rows without a key are refused."""
        self._sink.world.meet("write")
        sifted = Written()
        rows = sieved(self._sieving, rows, sifted)
        nameless = [row for row in rows.to_pylist() if any(row[name] is None for name in self._write.key)]
        refused = sifted.refused + [_refused(row, self._write.key) for row in nameless]
        if nameless:
            good = [row for row in rows.to_pylist() if row not in nameless]
            rows = pa.Table.from_pylist(good, schema=rows.schema)
        self._rows.append(rows)
        if self._write.mode is not WriteMode.UPSERT:
            return replace(sifted, inserted=rows.num_rows, refused=refused)
        done = self._dry([rows])
        done.refused, done.discarded = refused, sifted.discarded
        return done

    def _dry(self, rows: Sequence[pa.Table]) -> Written:
        """What merging would do, on top of what this session has not committed yet."""
        world = FakeSink(World(tables=dict(self._sink.world.tables)))
        if len(self._rows) > 1:
            world.merged(self._write, self._rows[:-1])
        return world.merged(self._write, rows)

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        world = self._sink.world
        world.meet("commit")
        with world.lock:
            stream = self._sink.held(self._write)
            if self._write.mode is WriteMode.UPSERT and self._rows:
                self._sink.merged(self._write, self._rows)
            else:
                stream.staged.extend(self._rows)
            stream.splits[self._split.id] = replace(checkpoint, counts=replace(checkpoint.counts), quarantine=())
            for row in checkpoint.quarantine:
                world.quarantine.append(self._kept(row, len(world.quarantine)))
        self._rows = []
        world.meet("reply")

    def _kept(self, row: BadRow, number: int) -> dict[str, Any]:
        values = {n: getattr(row, n) for n in ("step", "code", "field", "value", "original", "message", "state")}
        own = {"id": str(number), "run": self._write.run, "stream": self._write.stream}
        return {**own, **values, "at": f"{number:09d}"}

    def abort(self) -> None:
        """See Session.abort."""
        self._rows = []

    def close(self) -> None:
        """See Session.close."""
        self.abort()


# ---- as a connector


class FakeSettings(Endpoint):
    """A world by name."""

    world: str = titled("世界", "World", "default")
    """Name of the world; worlds live as long as the process."""
    password: Secret | None = titled("密码", "Password", None)
    """Asked for where the world has one."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"fake:{self.world}"


_worlds: dict[str, World] = {}


def world(name: str) -> World:
    """The world of that name, made when first asked for."""
    return _worlds.setdefault(name, World())


def _from_url(url: str) -> FakeSettings:
    rest, _, query = url.partition(":")[2].partition("?")
    return FakeSettings.parse({"world": rest, **dict(parse_qsl(query))})


def _secret(settings: FakeSettings) -> str:
    return settings.password.get_secret_value() if settings.password else ""


def _login(place: World, password: str) -> None:
    if password != place.password:
        raise AuthError("the world refused the password", hint="give the world's password")


def _key(row: dict[str, Any], key: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in key)


def _refused(row: dict[str, Any], key: Sequence[str]) -> BadRow:
    import json

    original = json.dumps(row, ensure_ascii=False, default=str)
    return BadRow("sink", "key.null", key[0], None, original, f"a key column ({', '.join(key)}) is null")


connector = Connector(
    name="fake",
    title={"zh": "内存中的假系统", "en": "Fake system in memory"},
    settings=FakeSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.APPEND | Can.REPLACE | Can.UPSERT | Can.TRANSACTIONS
        | Can.EVOLVES
    ),
    schemes=("fake",),
    from_url=_from_url,
    source=lambda settings: FakeSource(world(settings.world), _secret(settings)),
    sink=lambda settings: FakeSink(world(settings.world), _secret(settings)),
    label="mock",
    guarantee={"zh": "恰好一次", "en": "exactly-once effect"},
)  # fmt: skip
