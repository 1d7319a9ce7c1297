"""What two-way syncs remember: the agreed records, the ledger of steps, what waits for a person, rounds and stages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tongqu.core.data import Position
from tongqu.core.errors import FencedError
from tongqu.store.agreements import Agreed, Overruled, Settlement, Waiting, left
from tongqu.store.home import Home
from tongqu.store.migrations import TWO_WAY
from tongqu.store.writing import durable, writing

KEEP_ROUNDS = 5000
KEEP_SECONDS = 90 * 86_400.0
"""How long steps that are over, settled conflicts and overruled changes are kept."""
GATE = "gate"
"""Who moved a sync where nobody did: its gate."""
_BLOCK = 10_000
_MANY = 500
_RECORD = "SELECT key, row, last, bases, version, origin, made, echoes FROM records"


class Book:
    """The two-way syncs of one home, in one SQLite file. Raises sqlite3.Error or OSError where it cannot be used.

    `now` gives seconds since 1970.
    """

    def __init__(self, path: Path, now: Callable[[], float]):
        self._now = now
        self._database = durable(path, TWO_WAY, seconds=30.0)
        self._taken: tuple[str, int] | None = None

    @classmethod
    def open(cls, home: Home, now: Callable[[], float]) -> Book:
        """The book of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.two_way, now)

    def take(self, name: str) -> None:
        """Run a sync from here on: whoever ran it before can write nothing more of it and gets a FencedError."""
        with self._writing() as database:
            database.execute("UPDATE syncs SET epoch = epoch + 1 WHERE name = ?", (name,))
            (epoch,) = database.execute("SELECT epoch FROM syncs WHERE name = ?", (name,)).fetchone()
        self._taken = (name, epoch)

    def _writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return writing(self._database)

    @contextmanager
    def _running(self) -> Iterator[sqlite3.Connection]:
        """A transaction of whoever runs the sync; raises FencedError if somebody else does by now."""
        with self._writing() as database:
            if self._taken is not None:
                name, epoch = self._taken
                found = database.execute("SELECT epoch FROM syncs WHERE name = ?", (name,)).fetchone()
                if found is None or found[0] != epoch:
                    raise FencedError(f"another process runs the sync {name!r} now")
            yield database

    # ---- stage and positions

    def stage(self, name: str, first: str) -> tuple[str, float]:
        """The stage of a sync and since when; one that is not known yet begins at `first`."""
        found = self._database.execute("SELECT stage, since FROM syncs WHERE name = ?", (name,)).fetchone()
        if found is None:
            with self._writing() as database:
                database.execute(
                    "INSERT OR IGNORE INTO syncs (name, stage, since) VALUES (?, ?, ?)", (name, first, self._now())
                )
            return self.stage(name, first)
        return str(found[0]), float(found[1])

    def move(self, name: str, before: str, stage: str, why: str, who: str) -> bool:
        """Go from one stage to another; False if it is not at the first any more."""
        with self._writing() as database:
            done = database.execute(
                "UPDATE syncs SET stage = ?, since = ? WHERE name = ? AND stage = ?", (stage, self._now(), name, before)
            ).rowcount
            if done:
                database.execute(
                    "INSERT INTO moves (name, at, before, stage, why, who) VALUES (?, ?, ?, ?, ?, ?)",
                    (name, self._now(), before, stage, why, who),
                )
        return bool(done)

    def moves(self, name: str, limit: int = 50) -> list[dict[str, Any]]:
        """The newest moves between stages."""
        found = self._database.execute(
            "SELECT at, before, stage, why, who FROM moves WHERE name = ? ORDER BY id DESC LIMIT ?", (name, limit)
        )
        return [dict(zip(("at", "from", "to", "why", "who"), row, strict=True)) for row in found]

    def moves_after(self, name: str, id: int) -> list[tuple[int, dict[str, Any]]]:
        """The moves behind one, with their numbers, the oldest first."""
        found = self._database.execute(
            "SELECT id, at, before, stage, why, who FROM moves WHERE name = ? AND id > ? ORDER BY id", (name, id)
        )
        return [(row[0], dict(zip(("at", "from", "to", "why", "who"), row[1:], strict=True))) for row in found]

    def times_shut(self, name: str) -> int:
        """How often the gate has sent the sync back by itself."""
        row = self._database.execute("SELECT count(*) FROM moves WHERE name = ? AND who = ?", (name, GATE)).fetchone()
        return int(row[0])

    def told(self, name: str) -> dict[str, Any]:
        """What people were told of the sync's gates, as `tell` noted it; empty before."""
        found = self._database.execute("SELECT told FROM syncs WHERE name = ?", (name,)).fetchone()
        told: dict[str, Any] = json.loads(found[0]) if found else {}
        return told

    def tell(self, name: str, told: Mapping[str, Any]) -> None:
        """Note what people were told."""
        with self._writing() as database:
            database.execute("UPDATE syncs SET told = ? WHERE name = ?", (json.dumps(told), name))

    def position(self, name: str, side: str) -> Position | None:
        """What a side was read up to; `{"left": …}` if it shall be read anew, with what it was read up to."""
        found = self._database.execute("SELECT positions FROM syncs WHERE name = ?", (name,)).fetchone()
        position: Position | None = json.loads(found[0]).get(side) if found else None
        return position

    def advance(self, name: str, positions: Mapping[str, Position | None]) -> None:
        """Everything up to these positions is agreed or waits."""
        told = {side: position for side, position in positions.items() if position is not None}
        if told:
            with self._running() as database:
                found = database.execute("SELECT positions FROM syncs WHERE name = ?", (name,)).fetchone()
                known = json.loads(found[0]) | told
                database.execute("UPDATE syncs SET positions = ? WHERE name = ?", (json.dumps(known), name))

    def shaped(self, name: str, shape: str) -> bool:
        """Whether the sync's records have this shape; a sync without records takes it."""
        with self._writing() as database:
            (known,) = database.execute("SELECT shape FROM syncs WHERE name = ?", (name,)).fetchone()
            if known and known != shape:
                return False
            database.execute("UPDATE syncs SET shape = ? WHERE name = ?", (shape, name))
        return True

    def shape(self, name: str) -> list[str]:
        """What `shaped` was told last, in its parts; empty before."""
        found = self._database.execute("SELECT shape FROM syncs WHERE name = ?", (name,)).fetchone()
        return str(found[0]).split("\x1f") if found and found[0] else []

    def joined(self, name: str, sides: Mapping[str, str]) -> list[str]:
        """Take part from here on: side → which table it is. A side that did not before, or that is another table now,
        is known to hold nothing yet, so that what it lacks was not deleted there. Returns those."""
        found = self._database.execute("SELECT sides FROM syncs WHERE name = ?", (name,)).fetchone()
        if found is not None and json.loads(found[0]) == sides:
            return []
        with self._running() as database:
            told = database.execute("SELECT sides, positions FROM syncs WHERE name = ?", (name,)).fetchone()
            known, positions = json.loads(told[0]), json.loads(told[1])
            fresh = [side for side, table in sides.items() if known and known.get(side) != table]
            if fresh:
                database.create_function("holding_none", 1, partial(_holding_none, fresh), deterministic=True)
                database.execute(
                    "UPDATE records SET bases = holding_none(bases) WHERE name = ? AND row IS NOT NULL", (name,)
                )
            kept = {side: left(one) if side in fresh else one for side, one in positions.items()}
            database.execute(
                "UPDATE syncs SET sides = ?, positions = ? WHERE name = ?",
                (json.dumps(dict(sides)), json.dumps(kept), name),
            )
        return fresh

    def elsewhere(self, name: str, ends: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        """Side → which table it is, and in which system. The sides whose table is the one that it was, in another
        system than what was agreed is of, each with that system. If there is none, these are known from here on."""
        with self._writing() as database:
            (told,) = database.execute("SELECT ends FROM syncs WHERE name = ?", (name,)).fetchone()
            known = json.loads(told)
            moved = {
                side: str(known[side][1]) for side, (table, system) in ends.items()
                if side in known and known[side][0] == table and known[side][1] != system
            }  # fmt: skip
            if not moved:
                database.execute("UPDATE syncs SET ends = ? WHERE name = ?", (json.dumps(dict(ends)), name))
        return moved

    def forget(self, name: str) -> int:
        """Forget a sync's records, shape, positions and systems; returns how many records there were."""
        with self._writing() as database:
            (told,) = database.execute("SELECT positions FROM syncs WHERE name = ?", (name,)).fetchone() or ("{}",)
            kept = json.dumps({side: left(position) for side, position in json.loads(told).items()})
            database.execute("UPDATE syncs SET shape = '', positions = ?, ends = '{}' WHERE name = ?", (kept, name))
            database.execute("UPDATE conflicts SET state = 'settled' WHERE name = ?", (name,))
            return database.execute("DELETE FROM records WHERE name = ?", (name,)).rowcount

    # ---- records

    def every(self, name: str) -> Iterator[list[tuple[str, str | None, str]]]:
        """Key, row and what sides made of it (`Agreed.made` as JSON) of all records, in blocks."""
        cursor = self._database.execute("SELECT key, row, made FROM records WHERE name = ? ORDER BY key", (name,))
        while block := cursor.fetchmany(_BLOCK):
            yield block

    def ruled(self, name: str) -> list[str]:
        """Keys of what waits and of which somebody has chosen."""
        found = self._database.execute("SELECT key FROM conflicts WHERE name = ? AND state = 'ruled'", (name,))
        return [key for (key,) in found]

    def behind(self, name: str) -> list[str]:
        """Keys of records of which some side was last known to hold another row than the agreed one."""
        found = self._database.execute("SELECT key FROM records WHERE name = ? AND bases <> '{}'", (name,))
        return [key for (key,) in found]

    def agreed(self, name: str, keys: Sequence[str]) -> dict[str, Agreed]:
        """The records of these keys that are known, tombstones among them."""
        found: dict[str, Agreed] = {}
        for block in _blocks(keys):
            rows = self._database.execute(
                f"{_RECORD} WHERE name = ? AND key IN ({', '.join('?' * len(block))})", (name, *block)
            )
            found |= {row[0]: _agreed(row) for row in rows}
        return found

    def newest(self, name: str, limit: int = 1000, after: str = "") -> list[Agreed]:
        """Agreed records without tombstones, in the order of their keys."""
        rows = self._database.execute(
            f"{_RECORD} WHERE name = ? AND key > ? AND row IS NOT NULL ORDER BY key LIMIT ?", (name, after, limit)
        )
        return [_agreed(row) for row in rows]

    # ---- the ledger of steps

    def intend(self, id: str, name: str, body: Mapping[str, Any]) -> None:
        """Write down what is going to be done, before any of it is."""
        with self._running() as database:
            database.execute(
                "INSERT INTO batches (id, name, body, at) VALUES (?, ?, ?, ?)",
                (id, name, json.dumps(body, ensure_ascii=False), self._now()),
            )

    def open_batches(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """What was intended and is not over, the oldest first."""
        found = self._database.execute(
            "SELECT id, body FROM batches WHERE name = ? AND open = 1 ORDER BY at, id", (name,)
        )
        return [(id, json.loads(body)) for id, body in found]

    def steps(self, batch: str) -> dict[str, Any]:
        """The outcomes of the batch's steps that are over."""
        found = self._database.execute("SELECT step, outcome FROM steps WHERE batch = ?", (batch,))
        return {step: json.loads(outcome) for step, outcome in found}

    def stepped(self, batch: str, step: str, outcome: Any) -> None:
        """A step is over."""
        with self._running() as database:
            database.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?)", (batch, step, json.dumps(outcome), self._now())
            )

    def close_batch(self, batch: str, name: str, settlement: Settlement) -> None:
        """The batch is over: what came of it is remembered in the same transaction."""
        with self._running() as database:
            self._settle(database, name, settlement)
            database.execute("UPDATE batches SET open = 0 WHERE id = ?", (batch,))

    def settle(self, name: str, settlement: Settlement) -> None:
        """Remember what needed no step."""
        if any((settlement.agreed, settlement.overruled, settlement.waiting, settlement.settled)):
            with self._running() as database:
                self._settle(database, name, settlement)

    def _settle(self, database: sqlite3.Connection, name: str, told: Settlement) -> None:
        now = self._now()
        database.executemany(
            "INSERT OR REPLACE INTO records (name, key, row, last, bases, version, origin, made, echoes, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (name, one.key, one.row, one.last, _json(one.bases), one.version, one.origin, _json(one.made),
                 _json(one.echoes), now)
                for one in told.agreed
            ],
        )  # fmt: skip
        database.executemany(
            "INSERT INTO overruled (name, key, side, said, agreed, at) VALUES (?, ?, ?, ?, ?, ?)",
            [(name, one.key, one.side, one.said, one.agreed, now) for one in told.overruled],
        )
        database.executemany(
            "UPDATE conflicts SET state = 'settled' WHERE id = ?", [(number,) for number in told.settled]
        )
        for one in told.waiting:
            database.execute(  # and not deleted: an id that somebody has read never comes to mean something else
                "UPDATE conflicts SET state = 'settled' WHERE name = ? AND key = ? AND state <> 'settled'",
                (name, one.key),
            )
            database.execute(
                "INSERT INTO conflicts (name, key, kind, sides, why, state, at) VALUES (?, ?, ?, ?, ?, 'open', ?)",
                (name, one.key, one.kind, json.dumps(dict(one.sides), ensure_ascii=False), one.why, now),
            )

    def history(self, name: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest batches with their steps."""
        found = self._database.execute(
            "SELECT id, body, open, at FROM batches WHERE name = ? ORDER BY at DESC, id DESC LIMIT ?", (name, limit)
        ).fetchall()
        return [
            {"batch": id, "at": at, "open": bool(still), "records": len(json.loads(body)["items"]),
             "steps": list(self.steps(id))}
            for id, body, still, at in found
        ]  # fmt: skip

    def overruled(self, name: str, limit: int = 1000) -> list[Overruled]:
        """The newest changes that were decided against."""
        found = self._database.execute(
            "SELECT key, side, said, agreed FROM overruled WHERE name = ? ORDER BY id DESC LIMIT ?", (name, limit)
        )
        return [Overruled(*row) for row in found]

    # ---- what waits for a person

    def waiting(self, name: str, keys: Sequence[str] | None = None, limit: int = 1000) -> list[Waiting]:
        """What waits, the oldest first; of these keys, or as many as `limit`."""
        base = "SELECT key, kind, sides, why, id, ruling FROM conflicts WHERE name = ? AND state <> 'settled'"
        found: list[Any] = []
        if keys is None:
            found += self._database.execute(f"{base} ORDER BY id LIMIT ?", (name, limit)).fetchall()
        else:
            for block in _blocks(keys):
                holes = ", ".join("?" * len(block))
                found += self._database.execute(f"{base} AND key IN ({holes})", (name, *block)).fetchall()
        return [Waiting(key, kind, json.loads(sides), why, id, ruling) for key, kind, sides, why, id, ruling in found]

    def rule(self, name: str, id: int, ruling: Mapping[str, Any], who: str) -> bool:
        """Note what somebody chose; the next round does it. False if the entry does not wait any more."""
        with self._writing() as database:
            done = database.execute(
                "UPDATE conflicts SET state = 'ruled', ruling = ?, who = ? WHERE name = ? AND id = ? "
                "AND state <> 'settled'",
                (json.dumps(ruling, ensure_ascii=False), who, name, id),
            ).rowcount
        return bool(done)

    # ---- rounds

    def note(self, name: str, stage: str, numbers: tuple[int, int, int, float]) -> None:
        """Keep what a round found: records, differences, errors, p95 in ms."""
        with self._writing() as database:
            database.execute(
                "INSERT INTO rounds (name, at, stage, records, differences, errors, p95_ms) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, self._now(), stage, *numbers),
            )
            database.execute("UPDATE syncs SET rounds = rounds + 1 WHERE name = ?", (name,))
            database.execute(
                "DELETE FROM rounds WHERE name = ? AND id NOT IN "
                "(SELECT id FROM rounds WHERE name = ? ORDER BY id DESC LIMIT ?)", (name, name, KEEP_ROUNDS),
            )  # fmt: skip
            old = (name, self._now() - KEEP_SECONDS)
            over = "SELECT id FROM batches WHERE name = ? AND open = 0 AND at < ?"
            database.execute(f"DELETE FROM steps WHERE batch IN ({over})", old)
            database.execute("DELETE FROM batches WHERE name = ? AND open = 0 AND at < ?", old)
            database.execute("DELETE FROM conflicts WHERE name = ? AND state = 'settled' AND at < ?", old)
            database.execute("DELETE FROM overruled WHERE name = ? AND at < ?", old)

    def count(self, name: str) -> int:
        """How many rounds were noted."""
        found = self._database.execute("SELECT rounds FROM syncs WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def rounds(self, name: str, since: float = 0.0) -> list[tuple[float, str, int, int, int, float]]:
        """`at stage records differences errors p95_ms` of rounds since a moment, the oldest first."""
        return self._database.execute(
            "SELECT at, stage, records, differences, errors, p95_ms FROM rounds WHERE name = ? AND at >= ? ORDER BY id",
            (name, since),
        ).fetchall()

    def close(self) -> None:
        """Close the file; may be called twice."""
        with suppress(sqlite3.ProgrammingError):
            self._database.close()


def _holding_none(sides: Sequence[str], bases: str) -> str:
    return _json({**json.loads(bases), **dict.fromkeys(sides)})


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(dict(told), ensure_ascii=False, sort_keys=True)


def _agreed(row: Sequence[Any]) -> Agreed:
    key, text, last, bases, version, origin, made, echoes = row
    return Agreed(key, text, last, json.loads(bases), version, origin, json.loads(made), json.loads(echoes))


def _blocks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _MANY] for start in range(0, len(keys), _MANY))
