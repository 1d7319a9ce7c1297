"""The ledger of calls: what was meant to be sent, what was sent, and what became of it; and what the peer last got.

`_tongqu_calls` has one row per effect. `outcome` goes `planned` → `sent` → `ok | failed | unknown`; `committed` tells
that the position after the row is stored, so it will not come again. `base` says which effect it is but for how often
it occurred, `call` numbers the call it went in, `size` says how many effects that call had. `_tongqu_rows` has one row
per key: the digest of the content that the peer accepted last (empty while that is not certain, `-` while it has
accepted none), its own id, and the run in which the row last arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.kit.remote.effect import Op, Outcome, Result
from tongqu.kit.sqlite import SqliteDb

CALLS = "_tongqu_calls"
ROWS = "_tongqu_rows"
PLANNED, SENT = "planned", "sent"
NONE = "-"
OUTCOMES = (PLANNED, SENT, Result.OK.value, Result.FAILED.value, Result.UNKNOWN.value)
SHOWN = (
    "number", "id", "sync", "stream", "target", "run", "split", "call", "size", "op", "key", "digest", "outcome",
    "done", "status", "peer", "detail", "attempts", "undo", "at",
)  # fmt: skip
_AT_ONCE = 500
_DETAIL = 2_000


@dataclass(frozen=True)
class Scope:
    """Whose effects: the part of a stream, in a run. `taken` marks what this session has met in its open chunk."""

    sync: str
    stream: str
    target: str
    run: str
    split: str
    taken: str


@dataclass(frozen=True, slots=True)
class Known:
    """An effect that an earlier attempt has planned or sent."""

    outcome: str
    op: Op
    done: Op | None
    call: int
    size: int
    undo: str
    detail: str
    peer: str


@dataclass(frozen=True, slots=True)
class AtPeer:
    """What the peer has of a row, as far as this project wrote it: digest, its own id, and the row's cursor."""

    digest: str
    peer: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Planned:
    """An effect to write down before it is sent."""

    id: str
    base: str
    op: Op
    key: str
    digest: str
    row: str
    shape: str
    group: str
    cursor: str
    """The row's cursor as a JSON object; empty where there is none."""
    done: Op | None
    """Whether it will create or update, as far as that is known before."""


@dataclass(frozen=True)
class Which:
    """Which calls are meant; an empty field means any. Newest first."""

    run: str = ""
    stream: str = ""
    outcomes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    limit: int = 100


class Calls:
    """Reads and writes the two tables over one connection; never commits, except in `create`."""

    def __init__(self, db: SqliteDb):
        self._db = db

    def create(self) -> None:
        """Create the tables if they are missing."""
        self._db.begin()
        try:
            for statement in _STATEMENTS:
                self._db.run(statement)
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    # ---- planning

    def occurred(self, scope: Scope, bases: Iterable[str]) -> dict[str, int]:
        """How often each of these effects was committed by this run, or met in this session's open chunk."""
        found: dict[str, int] = {}
        for some in _slices(sorted(set(bases))):
            sql = (
                f"SELECT base, count(*) FROM {CALLS} WHERE base IN ({_holes(some)}) "
                "AND (committed = 1 OR taken = ?) GROUP BY base"
            )
            found |= {str(base): int(count) for base, count in self._db.rows(sql, (*some, scope.taken))}
        return found

    def left_over(self, scope: Scope) -> bool:
        """Whether an earlier attempt of this part left effects that no position covers."""
        return bool(self._db.rows(f"SELECT 1 {_LEFT} LIMIT 1", _left(scope)))

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """What is known of these effects."""
        found: dict[str, Known] = {}
        for some in _slices(ids):
            names = "id, outcome, op, done, call, size, undo, detail, peer"
            sql = f"SELECT {names} FROM {CALLS} WHERE id IN ({_holes(some)})"
            for id, outcome, op, done, call, size, undo, detail, peer in self._db.rows(sql, some):
                done_op = Op(done) if done else None
                found[str(id)] = Known(
                    str(outcome), Op(op), done_op, int(call), int(size), str(undo), str(detail), str(peer)
                )
        return found

    def take(self, scope: Scope, ids: Sequence[str]) -> None:
        """Mark effects of an earlier attempt as met again."""
        for some in _slices(ids):
            self._db.run(f"UPDATE {CALLS} SET taken = ? WHERE id IN ({_holes(some)})", (scope.taken, *some))

    def plan(self, scope: Scope, effects: Iterable[Planned], at: str) -> None:
        """Write effects down before they are sent."""
        self._db.bulk(
            f"INSERT INTO {CALLS} (id, base, sync, stream, target, run, split, op, key, digest, row, shape, grp, done, "
            "cursor, taken, at, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (e.id, e.base, scope.sync, scope.stream, scope.target, scope.run, scope.split, e.op.value, e.key,
                 e.digest, e.row, e.shape, e.group, e.done.value if e.done else "", e.cursor,
                 scope.taken, at, PLANNED)
                for e in effects
            ),
        )  # fmt: skip

    def groups(self, scope: Scope, groups: Iterable[str], but: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
        """Of groups of rows, by what this run has sent but for some ids: how many effects stand, and why one failed."""
        stand: dict[str, int] = {}
        failed: dict[str, str] = {}
        ours = set(but)
        for some in _slices(sorted(set(groups) - {""})):
            sql = (
                f"SELECT id, grp, outcome, undo, detail FROM {CALLS} WHERE sync = ? AND stream = ? AND run = ? "
                f"AND grp IN ({_holes(some)}) AND outcome IN ('ok', 'failed', 'unknown')"
            )
            for id, group, outcome, undo, detail in self._db.rows(sql, (scope.sync, scope.stream, scope.run, *some)):
                if id in ours:
                    continue
                if outcome != "ok" or undo:
                    failed.setdefault(str(group), str(detail))
                else:
                    stand[str(group)] = stand.get(str(group), 0) + 1
        return stand, failed

    # ---- sending

    def next_call(self) -> int:
        """The number of the next call."""
        return int(self._db.rows(f"SELECT coalesce(max(call), 0) + 1 FROM {CALLS}")[0][0])

    def sent(self, scope: Scope, ids: Sequence[str], keys: Sequence[str], call: int, at: str) -> None:
        """Note that a call goes out now: until it is settled, nobody knows what the peer has of its rows."""
        self._db.bulk(
            f"UPDATE {CALLS} SET outcome = ?, call = ?, size = ?, attempts = attempts + 1, at = ? WHERE id = ?",
            ((SENT, call, len(ids), at, id) for id in ids),
        )
        self._db.bulk(
            f"UPDATE {ROWS} SET digest = '' WHERE target = ? AND key = ? AND digest <> '{NONE}'",
            ((scope.target, key) for key in keys if key),
        )

    def settle(self, scope: Scope, settled: Sequence[tuple[str, Outcome]], *, keep_rows: bool, at: str) -> None:
        """Note what became of effects; the content of those that went through is kept only if asked for."""
        self._db.bulk(
            f"UPDATE {CALLS} SET outcome = ?, done = CASE WHEN ? = '' THEN done ELSE ? END, status = ?, "
            "peer = CASE WHEN ? = '' THEN peer ELSE ? END, "
            "detail = ?, at = ?, row = CASE WHEN ? THEN row ELSE NULL END WHERE id = ?",
            (
                (PLANNED if o.result is Result.AGAIN else o.result.value, o.done or "", o.done or "", o.status, o.peer,
                 o.peer, o.detail[:_DETAIL], at, keep_rows or o.result is not Result.OK, id)
                for id, o in settled
            ),
        )  # fmt: skip
        went = [id for id, outcome in settled if outcome.result is Result.OK]
        for some in _slices(went):
            held = f"FROM {CALLS} WHERE id IN ({_holes(some)}) AND key <> ''"
            self._db.run(
                f"DELETE FROM {ROWS} WHERE target = ? AND key IN (SELECT key {held} AND op = 'delete')",
                (scope.target, *some),
            )
            self._db.run(
                f"INSERT INTO {ROWS} (target, key, digest, peer, run, cursor) "
                f"SELECT target, key, digest, peer, run, cursor {held} AND op <> 'delete' ORDER BY number "
                "ON CONFLICT (target, key) DO UPDATE SET digest = excluded.digest, run = excluded.run, "
                "cursor = excluded.cursor, peer = CASE WHEN excluded.peer = '' THEN peer ELSE excluded.peer END",
                some,
            )

    def undoing(self, ids: Sequence[str], state: str, detail: str, at: str) -> None:
        """Note how far the compensation of effects is: `planned`, `done`, `failed`. What the peer has of a row whose
        effect is taken back is not known any more."""
        for some in _slices(ids):
            self._db.run(
                f"UPDATE {CALLS} SET undo = ?, detail = CASE WHEN ? = '' THEN detail ELSE ? END, at = ? "
                f"WHERE id IN ({_holes(some)})",
                (state, detail[:_DETAIL], detail[:_DETAIL], at, *some),
            )
            pairs = f"SELECT target, key FROM {CALLS} WHERE id IN ({_holes(some)})"
            if state == "done":
                created = f"{pairs} AND (done = 'create' OR op = 'create')"
                self._db.run(f"DELETE FROM {ROWS} WHERE (target, key) IN ({created})", some)
            self._db.run(f"UPDATE {ROWS} SET digest = '' WHERE (target, key) IN ({pairs}) AND digest <> '{NONE}'", some)

    # ---- committing

    def commit(self, scope: Scope, *, done: bool, at: str) -> None:
        """The position after what this session met is stored. When the part is done, effects that did not come again
        are closed: what was sent without an outcome stays unknown, what was only planned is dropped."""
        mine = "WHERE sync = ? AND stream = ? AND split = ? AND committed = 0"
        own = (scope.sync, scope.stream, scope.split)
        self._db.run(f"UPDATE {CALLS} SET committed = 1 {mine} AND taken = ?", (*own, scope.taken))
        if done:
            self._db.run(f"DELETE FROM {CALLS} {mine} AND outcome = '{PLANNED}'", own)
            lost = "the row of this call did not come again, so its outcome was not followed up"
            self._db.run(
                f"UPDATE {CALLS} SET outcome = 'unknown', detail = ?, at = ? {mine} AND outcome = '{SENT}'",
                (lost, at, *own),
            )
            self._db.run(f"UPDATE {CALLS} SET committed = 1 {mine}", own)

    def begin_anew(self, sync: str, stream: str, run: str) -> None:
        """The run begins this stream from its first row again: what it sent is not sent again when it comes again."""
        self._db.run(
            f"UPDATE {CALLS} SET committed = 0, taken = '' WHERE sync = ? AND stream = ? AND run = ?",
            (sync, stream, run),
        )

    def prune(self, sync: str, stream: str, keep: int) -> None:
        """Drop the oldest settled calls of a stream beyond `keep`; unknown ones stay until they are resolved."""
        self._db.run(
            f"DELETE FROM {CALLS} WHERE number IN (SELECT number FROM {CALLS} WHERE sync = ? AND stream = ? "
            "AND committed = 1 AND outcome IN ('ok', 'failed') AND undo NOT IN ('planned', 'failed') "
            f"ORDER BY number DESC LIMIT -1 OFFSET {int(keep)})",
            (sync, stream),
        )

    # ---- what the peer has

    def at_peer(self, target: str, keys: Sequence[str]) -> dict[str, AtPeer]:
        """What the peer last accepted for these keys."""
        found: dict[str, AtPeer] = {}
        for some in _slices(keys):
            named = f"digest <> '{NONE}' AND key IN ({_holes(some)})"
            sql = f"SELECT key, digest, peer, cursor FROM {ROWS} WHERE target = ? AND {named}"
            rows = self._db.rows(sql, (target, *some))
            found |= {str(key): AtPeer(str(digest), str(peer), str(cursor)) for key, digest, peer, cursor in rows}
        return found

    def maybe_at_peer(self, target: str, keys: Sequence[str]) -> set[str]:
        """Which of these keys the peer may have from this project: it accepted them, nobody knows whether it did, or
        this run has begun to delete them."""
        sql = (
            f"SELECT key FROM {CALLS} WHERE target = ? AND key <> '' AND (outcome IN ('{SENT}', 'unknown') "
            "OR (committed = 0 AND op = 'delete'))"
        )
        doubtful = {str(key) for (key,) in self._db.rows(sql, (target,))}
        return set(self.at_peer(target, keys)) | doubtful.intersection(keys)

    def arrived(self, target: str, keys: Iterable[str], run: str) -> None:
        """Note that rows of these keys came in this run, whatever became of them."""
        self._db.bulk(
            f"INSERT INTO {ROWS} (target, key, digest, peer, run, cursor) VALUES (?, ?, '{NONE}', '', ?, '') "
            "ON CONFLICT (target, key) DO UPDATE SET run = excluded.run",
            ((target, key, run) for key in keys),
        )

    def stayed_away(self, target: str, run: str) -> list[str]:
        """Keys that the peer was given and that did not come in this run."""
        sql = f"SELECT key FROM {ROWS} WHERE target = ? AND run <> ? AND digest <> '{NONE}' ORDER BY key"
        return [str(key) for (key,) in self._db.rows(sql, (target, run))]

    def came(self, target: str, run: str, keys: Sequence[str]) -> set[str]:
        """Which of these keys came in this run."""
        found: set[str] = set()
        for some in _slices(keys):
            sql = f"SELECT key FROM {ROWS} WHERE target = ? AND run = ? AND key IN ({_holes(some)})"
            found |= {str(key) for (key,) in self._db.rows(sql, (target, run, *some))}
        return found

    def given(self, target: str, run: str) -> bool:
        """Whether the peer has accepted a row that came in this run."""
        sql = f"SELECT 1 FROM {ROWS} WHERE target = ? AND run = ? AND digest NOT IN ('', '{NONE}') LIMIT 1"
        return bool(self._db.rows(sql, (target, run)))

    def went(self, sync: str, stream: str, run: str, split: str) -> int:
        """How many effects of a part went through in this run."""
        sql = f"SELECT count(*) FROM {CALLS} WHERE sync = ? AND stream = ? AND run = ? AND split = ? AND outcome = 'ok'"
        return int(self._db.rows(sql, (sync, stream, run, split))[0][0])

    # ---- for people

    def listed(self, which: Which) -> list[dict[str, Any]]:
        """The calls that are meant, newest first, with `row`, their content, where it is kept."""
        return [dict(zip((*SHOWN, "row"), row, strict=True)) for row in self._select(which, (*SHOWN, "row"))]

    def stored(self, which: Which) -> list[dict[str, Any]]:
        """As `listed`, with `shape`, so that the effect can be made again."""
        names = (*SHOWN, "row", "shape")
        return [dict(zip(names, row, strict=True)) for row in self._select(which, names)]

    def with_mates(self, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Stored effects with all those that went in the same calls, in order."""
        numbers = sorted({int(call["call"]) for call in calls if call["call"]})
        names = (*SHOWN, "row", "shape")
        found = {str(call["id"]): call for call in calls}
        for number in numbers:
            for row in self._db.rows(f"SELECT {', '.join(names)} FROM {CALLS} WHERE call = ?", (number,)):
                mate = dict(zip(names, row, strict=True))
                found.setdefault(str(mate["id"]), mate)
        return sorted(found.values(), key=lambda call: int(call["number"]))

    def _select(self, which: Which, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        equal: Mapping[str, str] = {"run": which.run, "stream": which.stream}
        tests = [f"{name} = ?" for name, value in equal.items() if value]
        values = [value for value in equal.values() if value]
        if which.outcomes:
            tests.append(f"outcome IN ({_holes(which.outcomes)})")
            values += which.outcomes
        for some in _slices(which.ids) if which.ids else [()]:
            more = [f"id IN ({_holes(some)})"] if some else []
            where = f" WHERE {' AND '.join([*tests, *more])}" if tests or more else ""
            sql = f"SELECT {', '.join(names)} FROM {CALLS}{where} ORDER BY number DESC LIMIT {int(which.limit)}"
            yield from self._db.rows(sql, (*values, *some))


_LEFT = f"FROM {CALLS} WHERE sync = ? AND stream = ? AND split = ? AND committed = 0 AND taken <> ?"
_STATEMENTS = (
    f"CREATE TABLE IF NOT EXISTS {CALLS} (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "base TEXT NOT NULL, sync TEXT NOT NULL, stream TEXT NOT NULL, target TEXT NOT NULL, run TEXT NOT NULL, "
    "split TEXT NOT NULL, call INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0, op TEXT NOT NULL, "
    "key TEXT NOT NULL, digest TEXT NOT NULL, outcome TEXT NOT NULL, done TEXT NOT NULL DEFAULT '', "
    "status INTEGER NOT NULL DEFAULT 0, peer TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '', "
    "attempts INTEGER NOT NULL DEFAULT 0, undo TEXT NOT NULL DEFAULT '', committed INTEGER NOT NULL DEFAULT 0, "
    "taken TEXT NOT NULL, grp TEXT NOT NULL, cursor TEXT NOT NULL, row TEXT, shape TEXT, at TEXT NOT NULL)",
    f"CREATE INDEX IF NOT EXISTS {CALLS}_base ON {CALLS} (base)",
    f"CREATE INDEX IF NOT EXISTS {CALLS}_open ON {CALLS} (sync, stream, split) WHERE committed = 0",
    f"CREATE INDEX IF NOT EXISTS {CALLS}_call ON {CALLS} (call)",
    f"CREATE TABLE IF NOT EXISTS {ROWS} (target TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, "
    "peer TEXT NOT NULL, run TEXT NOT NULL, cursor TEXT NOT NULL, PRIMARY KEY (target, key)) WITHOUT ROWID",
)


def _left(scope: Scope) -> tuple[str, ...]:
    return (scope.sync, scope.stream, scope.split, scope.taken)


def _holes(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _slices(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
