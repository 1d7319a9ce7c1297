"""The ledger and the quarantine as documents of the database that is written, in the transaction of its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.connectors.mongodb.db import MongodbDb
from tongqu.connectors.mongodb.failing import meaning
from tongqu.core.bad_rows import BadRows
from tongqu.core.data import BadRow, Checkpoint, Counts, Split, Started
from tongqu.core.dirty import OPEN, STILL_BAD, Dirty, Fix, Settled
from tongqu.core.errors import CheckpointError, FencedError
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import CHECKPOINT, CLAIM, VERSION, Head, Ledger, fenced
from tongqu.kit.quarantine import QUARANTINE, SHOWN, Quarantine

_STORED = 4_096


class MongodbLedger(Ledger):
    """`_tongqu_checkpoint`: a document for each run, stream and split, named by the three."""

    def __init__(self, db: MongodbDb):
        self._own = db
        self._heads = db.database[CHECKPOINT]
        self.quarantine: MongodbQuarantine = MongodbQuarantine(db)

    def create(self) -> None:
        """See Ledger.create. Collections are made outside of transactions, as all servers can."""
        have = self._own.database.list_collection_names()
        for name in (CHECKPOINT, QUARANTINE):
            if name not in have:
                _made(self._own, name)
        self._own.do(lambda: self._heads.create_index([("stream", 1)]))
        self._own.do(lambda: self._own.database[QUARANTINE].create_index([("sync", 1), ("stream", 1), ("run", 1)]))

    def head(self, sync: str, stream: str = "", split: str = "", *, lock: bool = False) -> Head | None:
        """See Ledger.head."""
        which = {"_id": _name(sync, stream, split)}
        if lock and self._own.transactional:
            touched = {"$inc": {"locks": 1}}
            found = self._own.do(lambda: self._heads.find_one_and_update(which, touched, session=self._own.session))
        else:
            found = self._own.do(lambda: self._heads.find_one(which, session=self._own.session))
        return _head(found) if found else None

    def last(self, stream: str, target: str) -> Head | None:
        """See Ledger.last."""
        heads = (_head(found) for found in self._find({"stream": stream, "split": ""}, [("updated_at", -1)]))
        return next((head for head in heads if head.spec.get("target") == target), None)

    def splits(self, sync: str, stream: str) -> dict[str, Checkpoint]:
        """See Ledger.splits."""
        which = {"sync": sync, "stream": stream, "split": {"$ne": ""}}
        if self._own.transactional:
            self._own.do(lambda: self._heads.update_many(which, {"$inc": {"locks": 1}}, session=self._own.session))
        made = {}
        for found in self._find(which, [("split", 1)]):
            head = _head(found)
            split = Split(found["split"], stream, head.spec)
            made[split.id] = Checkpoint(split, head.position, head.counts, done=head.state == "done")
        return made

    def put(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """See Ledger.put."""
        which = {"_id": _name(sync, stream, split)}
        values = {"sync": sync, "stream": stream, "split": split} | _values(head, at)
        self._own.do(lambda: self._heads.update_one(which, {"$set": values}, upsert=True, session=self._own.session))

    def add(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """See Ledger.add."""
        self.put(sync, stream, split, head, at)

    def change(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """See Ledger.change."""
        self.put(sync, stream, split, head, at)

    def forget_splits(self, sync: str, stream: str) -> None:
        """See Ledger.forget_splits."""
        which = {"sync": sync, "stream": stream, "split": {"$ne": ""}}
        self._own.do(lambda: self._heads.delete_many(which, session=self._own.session))

    def raise_fence(self, sync: str, stream: str, fence: int) -> None:
        """See Ledger.raise_fence."""
        which = {"sync": sync, "stream": stream, "split": {"$ne": ""}}
        self._own.do(lambda: self._heads.update_many(which, {"$set": {"fence": fence}}, session=self._own.session))

    def advance(self, sync: str, stream: str, fence: int, checkpoint: Checkpoint, at: str) -> None:
        """See Ledger.advance."""
        which = {"_id": _name(sync, stream, checkpoint.split.id), "fence": fence}
        values = {
            "position": _dump(checkpoint.position), "counts": _dump(checkpoint.counts.to_json()),
            "state": "done" if checkpoint.done else "running", "updated_at": at,
        }  # fmt: skip
        done = self._own.do(lambda: self._heads.update_one(which, {"$set": values}, session=self._own.session))
        if done.matched_count == 0:
            raise fenced(stream)

    def commit(self, sync: str, stream: str, fence: int, checkpoint: Checkpoint, at: str) -> None:
        """See Ledger.commit."""
        self.advance(sync, stream, fence, checkpoint, at)
        crash_point("in_commit")
        self._own.commit()

    def claim(self, sync: str, stream: str, split: str, fence: int) -> int:
        """See Ledger.claim."""
        which = {"_id": _name(sync, stream, split)}
        head = self.head(sync, stream, split, lock=True)
        if head is None or head.fence % CLAIM != fence:
            raise fenced(stream)
        claimed = head.fence + CLAIM
        change = {"$set": {"fence": claimed}}
        done = self._own.do(
            lambda: self._heads.update_one(which | {"fence": head.fence}, change, session=self._own.session)
        )
        if done.matched_count == 0:
            raise fenced(stream)
        return claimed

    def writer(self, target: str, but: str = "", *, followed: bool = True) -> str | None:
        """See Ledger.writer."""
        for found in self._find({"stream": {"$ne": ""}, "split": ""}, [("_id", 1)]):
            head = _head(found)
            if found["sync"] == but or head.spec.get("target") != target or (head.spec.get("follows") and not followed):
                continue
            run = self.head(found["sync"], lock=True)
            open_run = run is not None and (run.state, run.run) == ("running", head.run)
            if head.state == "running" or open_run:
                return head.run
        return None

    def start(self, sync: str, run: str, restart: bool, at: str) -> Started:
        """See Ledger.start."""
        head = self.head(sync, lock=True)
        session = self._own.session
        if restart:
            self._own.do(lambda: self._heads.delete_many({"sync": sync, "split": {"$ne": ""}}, session=session))
            streams, given_up = {"sync": sync, "stream": {"$ne": ""}}, {"state": "discarded", "position": None}
            self._own.do(lambda: self._heads.update_many(streams, {"$set": given_up}, session=session))
        running = head is not None and head.state == "running" and not restart
        started = Started(head.run, head.attempt + 1) if head is not None and running else Started(run, 1)
        self.put(sync, "", "", Head(started.run, started.attempt, 0, "running"), at)
        return started

    def _find(self, which: Mapping[str, Any], order: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        return self._own.do(lambda: list(self._heads.find(which, session=self._own.session).sort(list(order))))


class MongodbQuarantine(Quarantine):
    """`_tongqu_quarantine`: a document for each refused row."""

    def __init__(self, db: MongodbDb):
        self._own = db
        self._kept = db.database[QUARANTINE]

    def widen(self) -> None:
        """See Quarantine.widen: documents have whatever fields they are given."""

    def add(self, *, sync: str, run: str, stream: str, first: str, rows: Sequence[BadRow], at: str) -> None:
        """See Quarantine.add."""
        from pymongo import ReplaceOne

        from tongqu.kit.quarantined import stored

        same = {"sync": sync, "run": run, "stream": stream, "at": at}
        for texts in stored(rows if isinstance(rows, BadRows) else BadRows(rows), first, same, _STORED):
            changes = [ReplaceOne({"_id": one["id"]}, one, upsert=True) for one in texts.to_pylist()]

            def work(changes: Sequence[Any] = changes) -> Any:
                return self._kept.bulk_write(list(changes), ordered=True, session=self._own.session)

            self._own.do(work)

    def forget(self, sync: str, stream: str, run: str) -> None:
        """See Quarantine.forget."""
        which = {"sync": sync, "stream": stream, "run": run}
        self._own.do(lambda: self._kept.delete_many(which, session=self._own.session))

    def rows(self, which: Dirty) -> list[dict[str, Any]]:
        """See Quarantine.rows."""
        equal = {"sync": which.sync, "run": which.run, "stream": which.stream, "code": which.code, "field": which.field}
        asked: dict[str, Any] = {name: value for name, value in equal.items() if value}
        if which.states:
            asked["state"] = {"$in": list(which.states)}
        if which.ids:
            asked["_id"] = {"$in": list(which.ids)}
        order = [("at", 1 if which.arrival else -1), ("_id", 1)]
        found = self._own.do(
            lambda: list(self._kept.find(asked, session=self._own.session).sort(order).limit(int(which.limit)))
        )
        listed = [{name: one.get(name) for name in SHOWN} for one in found]
        named = {row["shape"][1:] for row in listed if (row["shape"] or "").startswith("=")}
        holders = self._own.do(
            lambda: list(self._kept.find({"_id": {"$in": sorted(named)}}, {"shape": 1}, session=self._own.session))
        )
        known = {one["_id"]: one["shape"] for one in holders}
        for row in listed:
            shape = row["shape"] or ""
            row["shape"] = known.get(shape[1:], "") if shape.startswith("=") else shape
        return listed

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Quarantine.fix."""
        done = 0
        for fix in fixes:
            values = {"state": fix.state, "history": fix.history}
            if fix.fixed is not None:
                values["fixed"] = fix.fixed
            done += self._change(fix.id, values)
        return done

    def _one(self, id: str) -> Mapping[str, Any]:
        found = self._own.do(lambda: self._kept.find_one({"_id": id}, session=self._own.session))
        return found or {}

    def _change(self, id: str, values: Mapping[str, Any]) -> int:
        which = {"_id": id, "state": {"$in": list(OPEN)}}
        changed = self._own.do(lambda: self._kept.update_one(which, {"$set": values}, session=self._own.session))
        return int(changed.matched_count)

    def settle(self, settled: Sequence[Settled]) -> None:
        """See Quarantine.settle."""
        for one in settled:
            values: dict[str, Any] = {"state": one.state}
            if one.state == STILL_BAD:
                found = self._one(one.id)
                cause = {name: found.get(name) for name in ("code", "field", "value", "message")}
                values |= {"code": one.code, "field": one.field, "value": one.value, "message": one.message}
                values["cause"] = found.get("cause") or json.dumps(cause, ensure_ascii=False)
            if not self._change(one.id, values):
                raise FencedError(
                    "another process has replayed or discarded rows of this quarantine; nothing was written twice",
                    hint="look at them with `tongqu quarantine list` and replay what is left",
                )


def _made(db: MongodbDb, name: str) -> None:
    from pymongo.errors import CollectionInvalid, OperationFailure

    try:
        db.database.create_collection(name)
    except (CollectionInvalid, OperationFailure) as error:
        if getattr(error, "code", 48) not in (48, None):  # 48: another process has made it
            raise meaning(error, db.where) from None


def _name(*parts: str) -> str:
    return json.dumps(parts, ensure_ascii=False)


def _values(head: Head, at: str) -> dict[str, Any]:
    return {
        "run": head.run, "attempt": head.attempt, "fence": head.fence, "state": head.state, "spec": _dump(head.spec),
        "position": _dump(head.position), "counts": _dump(head.counts.to_json()), "updated_at": at, "version": VERSION,
    }  # fmt: skip


def _head(found: Mapping[str, Any]) -> Head:
    if int(found["version"]) > VERSION:
        raise CheckpointError(
            f"the checkpoints in this sink are of a newer version (format {found['version']}, ours is {VERSION})",
            hint="run the newer version, or `tongqu sync … --restart` to begin anew",
        )
    counts = Counts.from_json(_load(found["counts"]))
    spec, position = _load(found["spec"]) or {}, _load(found["position"])
    return Head(found["run"], int(found["attempt"]), int(found["fence"]), found["state"], spec, position, counts)


def _dump(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)
