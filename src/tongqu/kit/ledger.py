"""The tables Tongqu keeps inside a sink, defined once for every SQL system: checkpoints here, `kit.quarantine` beside.

`_tongqu_checkpoint` has one row per split, one per stream (split '') and one per run (stream '' and split ''). The
fence is an epoch in each of them: whoever opens a stream raises it, and a commit that finds another epoch is refused,
so a process that was paused and taken over can write nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.core.data import Checkpoint, Counts, Position, Split, Started
from tongqu.core.errors import BusyError, CheckpointError, ConnectorError, FencedError
from tongqu.kit.db import Db
from tongqu.kit.quarantine import Quarantine

CHECKPOINT = "_tongqu_checkpoint"
PREFIX = "_tongqu_"
VERSION = 1
CLAIM = 1 << 32
"""A split that one of several processes has taken has its stream's fence plus a multiple of this."""

_COLUMNS = ("run", "attempt", "fence", "state", "spec", "position", "counts", "updated_at", "version")


@dataclass(frozen=True)
class Head:
    """A stored row of a run, stream or split."""

    run: str
    attempt: int
    fence: int
    state: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    position: Position | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def finished(self) -> bool:
        """Whether the run or stream ended; a split says `done`."""
        return self.state == "finished"


class Ledger:
    """Reads and writes the ledger over one connection; never commits by itself, except in `create`.

    `schema` is the quoted schema prefix (`"public".`) or empty.
    """

    def __init__(self, db: Db, schema: str = ""):
        self._db = db
        self._checkpoint = schema + db.quote(CHECKPOINT)
        self.quarantine = Quarantine(db, schema)
        """The dirty rows."""

    def create(self) -> None:
        """Create the tables if they are missing, in a transaction of their own; safe when two processes do it."""
        types = self._db.ledger_types
        key, text, long = types["id"], types["text"], types["long"]
        statements = (
            f"CREATE TABLE IF NOT EXISTS {self._checkpoint} (sync {key} NOT NULL, stream {key} NOT NULL, "
            f"split {key} NOT NULL, run {key} NOT NULL, attempt {long} NOT NULL, fence {long} NOT NULL, "
            f"state {key} NOT NULL, spec {text}, position {text}, counts {text}, updated_at {key}, "
            f"version {long} NOT NULL, PRIMARY KEY (sync, stream, split))",
            self.quarantine.statement(),
        )
        for attempt in (1, 2):
            try:
                self._db.begin()
                for statement in statements:
                    self._db.run(statement)
                self._db.commit()
            except ConnectorError as error:
                self._db.rollback()
                if attempt == 2 or isinstance(
                    error, BusyError
                ):  # two processes raced: the second look finds the other's tables
                    raise
            else:
                break
        self.quarantine.widen()

    # ---- rows of runs, streams and splits

    def head(self, sync: str, stream: str = "", split: str = "", *, lock: bool = False) -> Head | None:
        """One stored row, locked until commit if asked."""
        found = self._db.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM {self._checkpoint} WHERE sync = ? AND stream = ? AND split = ?"
            + (f" {self._db.for_update}" if lock else ""),
            (sync, stream, split),
        )
        return _head(found[0]) if found else None

    def last(self, stream: str, target: str) -> Head | None:
        """The row that any sync last stored for a stream of this name into this table."""
        found = self._db.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM {self._checkpoint} WHERE stream = ? AND split = '' "
            "ORDER BY updated_at DESC",
            (stream,),
        )
        heads = (_head(row) for row in found)
        return next((head for head in heads if head.spec.get("target") == target), None)

    def splits(self, sync: str, stream: str) -> dict[str, Checkpoint]:
        """The checkpoints of a stream's splits, locked: a commit whose reply was lost and that still runs in the
        server is waited for, so what is returned is what holds."""
        found = self._db.rows(
            f"SELECT split, {', '.join(_COLUMNS)} FROM {self._checkpoint} "
            f"WHERE sync = ? AND stream = ? AND split <> '' ORDER BY split {self._db.for_update}",
            (sync, stream),
        )
        result = {}
        for name, *rest in found:
            head = _head(tuple(rest))
            result[name] = Checkpoint(
                Split(name, stream, head.spec), head.position, head.counts, done=head.state == "done"
            )
        return result

    def put(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """Store a row, replacing the one that is there."""
        self._db.run(
            f"DELETE FROM {self._checkpoint} WHERE sync = ? AND stream = ? AND split = ?", (sync, stream, split)
        )
        self.add(sync, stream, split, head, at)

    def add(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """Store a row that is not there yet."""
        self._db.run(
            f"INSERT INTO {self._checkpoint} (sync, stream, split, {', '.join(_COLUMNS)}) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sync, stream, split, *_values(head, at)),
        )

    def change(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """Store a row in place of the one that is there."""
        sets = ", ".join(f"{name} = ?" for name in _COLUMNS)
        self._db.run(
            f"UPDATE {self._checkpoint} SET {sets} WHERE sync = ? AND stream = ? AND split = ?",
            (*_values(head, at), sync, stream, split),
        )

    def forget_splits(self, sync: str, stream: str) -> None:
        """Drop the checkpoints of a stream's splits."""
        self._db.run(f"DELETE FROM {self._checkpoint} WHERE sync = ? AND stream = ? AND split <> ''", (sync, stream))

    def raise_fence(self, sync: str, stream: str, fence: int) -> None:
        """Make the fence ours in the rows of a stream's splits."""
        self._db.run(
            f"UPDATE {self._checkpoint} SET fence = ? WHERE sync = ? AND stream = ? AND split <> ''",
            (fence, sync, stream),
        )

    def advance(self, sync: str, stream: str, fence: int, checkpoint: Checkpoint, at: str) -> None:
        """Move a split's row to the checkpoint if its fence is ours; raises FencedError otherwise."""
        if self._db.run(*self._advancing(sync, stream, fence, checkpoint, at)) == 0:
            raise fenced(stream)

    def commit(self, sync: str, stream: str, fence: int, checkpoint: Checkpoint, at: str) -> None:
        """As `advance`, and commit; nothing is committed if the fence is not ours."""
        if self._db.run_and_commit(*self._advancing(sync, stream, fence, checkpoint, at)) == 0:
            raise fenced(stream)

    def _advancing(
        self, sync: str, stream: str, fence: int, checkpoint: Checkpoint, at: str
    ) -> tuple[str, tuple[Any, ...]]:
        sql = (
            f"UPDATE {self._checkpoint} SET position = ?, counts = ?, state = ?, updated_at = ? "
            "WHERE sync = ? AND stream = ? AND split = ? AND fence = ?"
        )
        state = "done" if checkpoint.done else "running"
        position, counts = _dump(checkpoint.position), _dump(checkpoint.counts.to_json())
        return sql, (position, counts, state, at, sync, stream, checkpoint.split.id, fence)

    def claim(self, sync: str, stream: str, split: str, fence: int) -> int:
        """Take one split of a stream whose fence is given, from whoever holds it: the fence under which its row can be
        advanced from now on, and which no fence of a stream ever equals. Raises FencedError."""
        head = self.head(sync, stream, split, lock=True)
        if head is None or head.fence % CLAIM != fence:
            raise fenced(stream)
        claimed = head.fence + CLAIM
        self._db.run(
            f"UPDATE {self._checkpoint} SET fence = ? WHERE sync = ? AND stream = ? AND split = ?",
            (claimed, sync, stream, split),
        )
        return claimed

    def hold(self, sync: str, stream: str, fence: int) -> Head:
        """The stream's row, locked; raises FencedError if its fence is not ours."""
        head = self.head(sync, stream, lock=True)
        if head is None or head.fence != fence:
            raise fenced(stream)
        return head

    def writer(self, target: str, but: str = "", *, followed: bool = True) -> str | None:
        """The run that writes this table and has not ended, or None; the sync `but` does not count, nor do streams that
        follow a log unless `followed`.

        The rows of its streams are locked, so none of them begins before we commit; streams of older versions, which
        note no target, are not seen.
        """
        found = self._db.rows(f"SELECT sync, stream, spec FROM {self._checkpoint} WHERE stream <> '' AND split = ''")
        for sync, stream, spec in found:
            told = _load(spec) or {}
            if sync == but or told.get("target") != target or (told.get("follows") and not followed):
                continue
            run, head = self.head(sync, lock=True), self.head(sync, stream, lock=True)
            open_run = head is not None and run is not None and (run.state, run.run) == ("running", head.run)
            if head is not None and (head.state == "running" or open_run):
                return head.run
        return None

    # ---- runs

    def start(self, sync: str, run: str, restart: bool, at: str) -> Started:
        """Find the unfinished run of this sync or record a new one; commits nothing."""
        head = self.head(sync, lock=True)
        if restart:
            self._db.run(f"DELETE FROM {self._checkpoint} WHERE sync = ? AND split <> ''", (sync,))
            self._db.run(
                f"UPDATE {self._checkpoint} SET state = 'discarded', position = NULL WHERE sync = ? AND stream <> ''",
                (sync,),
            )
        if head is not None and head.state == "running" and not restart:
            started = Started(head.run, head.attempt + 1)
        else:
            started = Started(run, 1)
        self.put(sync, "", "", Head(started.run, started.attempt, 0, "running"), at)
        return started

    def end(self, sync: str, run: str, at: str) -> None:
        """Mark the run finished."""
        head = self.head(sync, lock=True)
        if head is not None and head.run == run:
            self.put(sync, "", "", Head(run, head.attempt, 0, "finished"), at)


def fenced(stream: str) -> FencedError:
    """The error for a commit that came after another process took the stream over."""
    return FencedError(
        f"another process has taken over the stream {stream!r}; this one stopped without writing more",
        hint="let the other process finish, or stop it and run this sync again",
        params={"stream": stream},
    )


def _values(head: Head, at: str) -> tuple[Any, ...]:
    """A row's values in the order of the columns."""
    counts = _dump(head.counts.to_json())
    spec, position = _dump(head.spec), _dump(head.position)
    return (head.run, head.attempt, head.fence, head.state, spec, position, counts, at, VERSION)


def _head(row: tuple[Any, ...]) -> Head:
    run, attempt, fence, state, spec, position, counts, _, version = row
    if int(version) > VERSION:
        raise CheckpointError(
            f"the checkpoints in this sink were written by a newer version (format {version}, ours is {VERSION})",
            hint="run the newer version, or `tongqu sync … --restart` to begin anew",
        )
    done = Counts.from_json(_load(counts))
    return Head(run, int(attempt), int(fence), state, _load(spec) or {}, _load(position), done)


def _dump(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _load(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise CheckpointError(
            "a checkpoint in this sink is damaged: it is not valid JSON",
            hint="restore the sink's _tongqu_checkpoint table, or run with --restart to begin anew",
        ) from None
