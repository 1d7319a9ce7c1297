"""A made-up system that is written call by call, kept in a file so that it outlives whoever writes it.

    peer = Peer(tmp_path / "peer.db", keyed=Keyed.CALL, lose=0.05)
    sink = PeerSink(peer, Manner())

It honours idempotency keys or not, can be read back or not, refuses rows whose `v` is `bad`, and can be told to lose a
share of the replies after it has carried the call out (`lose`), or to drop calls before (`drop`). `effects` counts what
really happened. `python -m tongqu.testing.remote_peer FILE MODE KEYED LOOKS` pours made-up chunks into it, for tests
that let that process die.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl

import pyarrow as pa

from tongqu.core.connector import Can, Connector, Sink, Source
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import ConnectError, NotFoundError, UnknownOutcomeError
from tongqu.core.settings import Endpoint, titled
from tongqu.kit.originals import originals, restored, schema_of, shape_of
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Keyed, Writer
from tongqu.testing.crashing import KEYS, SCHEMA
from tongqu.testing.fakes import FakeSource
from tongqu.testing.pour import pour
from tongqu.testing.world import Stored, World

_TABLES = (
    "CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, target, key, body, shape)",
    "CREATE TABLE IF NOT EXISTS answered (id PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS effects (n INTEGER PRIMARY KEY, id, op, target, key, body)",
)
EVERY = frozenset(Op)


class Peer:
    """The system. `ops` is what it can do; every call is one transaction of its own."""

    def __init__(
        self,
        path: Path,
        *,
        keyed: Keyed = Keyed.CALL,
        looks: bool = False,
        ops: frozenset[Op] = EVERY,
        lose: float = 0.0,
        drop: float = 0.0,
        seed: int = 0,
    ):
        self.path = path
        self.keyed, self.looks, self.ops = keyed, looks, ops
        self.lose, self.drop = lose, drop
        self.calls = 0
        self.batch = 1
        self.can_undo = True
        self.refused = {"bad"}
        """Values of `v` that are refused."""
        self._random = Random(seed)  # noqa: S311  # chooses failures, guards nothing
        self._lock = threading.Lock()
        with self._open() as db:
            for statement in _TABLES:
                db.execute(statement)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, timeout=30)

    def call(self, target: str, key: tuple[str, ...], effects: Effects) -> list[Outcome]:
        """Carry a call out, as far as its rows are good and its key is new."""
        with self._lock:
            self.calls += 1
            dropped, lost = self._random.random() < self.drop, self._random.random() < self.lose
            if dropped:
                raise ConnectError("the peer does not answer", hint="try again")
            db = self._open()
            try:
                db.execute("BEGIN IMMEDIATE")
                known = db.execute("SELECT 1 FROM answered WHERE id = ?", (effects.id,)).fetchone()
                if known and self.keyed is not Keyed.NO:
                    outcomes = [Outcome(Result.OK)] * len(effects)
                else:
                    outcomes = self._carry_out(db, target, key, effects)
                    if all(outcome.result is Result.OK for outcome in outcomes):
                        db.execute("INSERT OR IGNORE INTO answered VALUES (?)", (effects.id,))
                db.execute("COMMIT")
            finally:
                db.close()
        if lost:
            raise UnknownOutcomeError("the reply was lost", hint="look at the peer")
        return outcomes

    def _carry_out(self, db: sqlite3.Connection, target: str, key: tuple[str, ...], effects: Effects) -> list[Outcome]:
        shape = shape_of(effects.rows.schema)
        keys = originals(effects.rows.select(list(key))) if key else [""] * len(effects)
        values = effects.rows.column("v").to_pylist() if "v" in effects.rows.column_names else [None] * len(effects)
        outcomes = []
        for id, text, body, value in zip(effects.ids, keys, originals(effects.rows), values, strict=True):
            if isinstance(value, str) and value in self.refused:
                outcomes.append(Outcome(Result.FAILED, status=422, detail=f"v must not be {value!r}", field="v"))
                continue
            db.execute("INSERT INTO effects (id, op, target, key, body) VALUES (?, ?, ?, ?, ?)",
                       (id, effects.op.value, target, text, body))  # fmt: skip
            outcomes.append(self._apply(db, effects.op, target, text, body, shape))
        return outcomes

    def _apply(self, db: sqlite3.Connection, op: Op, target: str, key: str, body: str, shape: str) -> Outcome:  # noqa: PLR0917  # one row's values
        there = db.execute("SELECT n FROM rows WHERE target = ? AND key = ?", (target, key)).fetchone() if key else None
        if op is Op.DELETE:
            db.execute("DELETE FROM rows WHERE target = ? AND key = ?", (target, key))
            return Outcome(Result.OK, Op.DELETE if there else None)
        if op is Op.CREATE or there is None:
            made = db.execute("INSERT INTO rows (target, key, body, shape) VALUES (?, ?, ?, ?)",
                              (target, key, body, shape))  # fmt: skip
            return Outcome(Result.OK, Op.CREATE, 201, peer=str(made.lastrowid))
        db.execute("UPDATE rows SET body = ?, shape = ? WHERE n = ?", (body, shape, there[0]))
        return Outcome(Result.OK, Op.UPDATE, 200, peer=str(there[0]))

    def look(self, target: str, key: tuple[str, ...], effects: Effects) -> list[Seen]:
        """What it has of these rows; for rows without key, whether a call with that id was carried out."""
        with self._lock:
            if self._random.random() < self.drop:
                raise ConnectError("the peer does not answer", hint="try again")
        with self._open() as db:
            found = []
            for id, body, text in zip(effects.ids, originals(effects.rows), effects.keys, strict=True):
                if key:
                    row = db.execute("SELECT body FROM rows WHERE target = ? AND key = ?", (target, text)).fetchone()
                else:
                    row = db.execute("SELECT body FROM effects WHERE id = ?", (id,)).fetchone()
                found.append(Seen.ABSENT if row is None else Seen.SAME if row[0] == body else Seen.OTHER)
            return found

    def undo(self, target: str, effects: Effects) -> Outcome:
        """Delete the row that was created."""
        if not self.can_undo:
            return Outcome(Result.FAILED, detail="too late to undo")
        with self._open() as db:
            db.execute("DELETE FROM rows WHERE target = ? AND n = ?", (target, effects.peers[0]))
        return Outcome(Result.OK)

    def table(self, target: str) -> pa.Table | None:
        """All rows of a target; None if it never had one."""
        with self._open() as db:
            shape = db.execute(
                "SELECT shape FROM rows WHERE target = ? ORDER BY length(shape) DESC", (target,)
            ).fetchone()
            if shape is None:
                known = db.execute("SELECT 1 FROM effects WHERE target = ?", (target,)).fetchone()
                return SCHEMA.empty_table() if known else None
            texts = [body for (body,) in db.execute("SELECT body FROM rows WHERE target = ? ORDER BY n", (target,))]
        return restored(texts, schema_of(shape[0])).rows

    def key(self, target: str) -> tuple[str, ...]:
        """The columns that its rows are told apart by."""
        with self._open() as db:
            found = db.execute("SELECT key FROM effects WHERE target = ? AND key <> ''", (target,)).fetchone()
        return tuple(json.loads(found[0])) if found else ()

    def targets(self) -> list[str]:
        """The names of all targets."""
        with self._open() as db:
            return [name for (name,) in db.execute("SELECT DISTINCT target FROM effects ORDER BY target")]

    def effects(self) -> list[tuple[str, str, str]]:
        """Operation, key and body of everything that happened, in order."""
        with self._open() as db:
            return db.execute("SELECT op, key, body FROM effects ORDER BY n").fetchall()


class PeerWriter(Writer):
    """Sends to the peer."""

    def __init__(self, peer: Peer, write: Write):
        self._peer, self._target = peer, write.dataset.name
        self._key = tuple(write.key)
        self.ops, self.keyed, self.looks = peer.ops, peer.keyed, peer.looks
        self.batch = peer.batch
        self.undoes = self.lists = True

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send."""
        return self._peer.call(self._target, self._key, effects)

    def look(self, effects: Effects) -> Sequence[Seen]:
        """See Writer.look."""
        return self._peer.look(self._target, self._key, effects)

    def undo(self, effects: Effects) -> Outcome:
        """See Writer.undo."""
        return self._peer.undo(self._target, effects)

    def listing(self) -> Iterator[pa.Table]:
        """See Writer.listing."""
        rows = self._peer.table(self._target)
        if rows is not None:
            yield rows.select(list(self._key))


class PeerSink(RemoteSink):
    """Writes the peer; its ledger is beside the peer's file."""

    name = "the peer"

    def __init__(self, peer: Peer, manner: Manner | None = None):
        super().__init__(manner or Manner(pause_seconds=0))
        self.peer = peer
        self.lodge(peer.path.parent / "home")

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        yield "login"

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return PeerWriter(self.peer, write)


class PeerSource(FakeSource):
    """Reads what the peer has now."""

    def __init__(self, path: Path):
        super().__init__(_world(path))
        self._path = path

    def check(self) -> Iterator[str]:
        """See Source.check."""
        if not self._path.parent.is_dir():
            raise NotFoundError(f"there is no peer {self._path}", hint="make its folder first")
        yield from super().check()


class PeerSettings(Endpoint):
    """A peer by its file."""

    path: str = titled("文件", "File", min_length=1)
    """Where it is kept."""
    keyed: Keyed = titled("幂等键", "Idempotency keys", Keyed.CALL)
    """What it does with idempotency keys."""
    lose: float = titled("丢失应答", "Lost replies", 0.0, ge=0, le=1)
    """The share of replies that is lost."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"peer:{self.path}"


def _from_url(url: str) -> PeerSettings:
    rest, _, query = url.partition(":")[2].partition("?")
    return PeerSettings.parse({"path": rest, **dict(parse_qsl(query))})


def _source(settings: PeerSettings) -> Source:
    return PeerSource(Path(settings.path))


def _world(path: Path) -> World:
    if not path.parent.is_dir():
        return World()
    peer = Peer(path)
    tables = {name: peer.table(name) for name in peer.targets()}
    return World(tables={name: Stored(rows, peer.key(name)) for name, rows in tables.items() if rows is not None})


def _sink(settings: PeerSettings) -> Sink:
    return PeerSink(Peer(Path(settings.path), keyed=settings.keyed, lose=settings.lose))


connector = Connector(
    name="peer",
    title={"zh": "逐次调用的假系统", "en": "Fake system written call by call"},
    settings=PeerSettings,
    can=Can.READ | Can.WRITE | Can.APPEND | Can.UPSERT | Can.REPLACE | Can.TRANSACTIONS | Can.EVOLVES,
    schemes=("peer",),
    from_url=_from_url,
    source=_source,
    sink=_sink,
    label="mock",
    guarantee={"zh": "每行恰好一次", "en": "once-only effect"},
)


def run(peer: Peer, mode: WriteMode, manner: Manner | None = None) -> Counts:
    """Pour three chunks of made-up rows; a run that died before goes on."""
    merges = mode is not WriteMode.APPEND
    key = ("id",) if merges or peer.looks else ()
    write = Write("t", Dataset("t", SCHEMA, key), mode, "sync", "run", key)
    chunks = [
        pa.table({"id": ids, "v": [f"{number}-{id}" for id in ids]}, schema=SCHEMA)
        for number, ids in enumerate(KEYS if merges else ((1, 2, 3), (4, 5, 6), (7, 8)))
    ]
    sink = PeerSink(peer, manner)
    try:
        return pour(sink, write, chunks)
    finally:
        sink.close()


if __name__ == "__main__":
    _file, _mode, _keyed, _looks = sys.argv[1:]
    run(Peer(Path(_file), keyed=Keyed(_keyed), looks=_looks == "looks"), WriteMode(_mode))
