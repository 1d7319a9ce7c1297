"""The ledger and the quarantine in two compacted topics, written in the transactions of the messages they tell of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.pen import Pen
from tongqu.core.bad_rows import BadRows
from tongqu.core.data import BadRow, Checkpoint, Counts, Split, Started
from tongqu.core.dirty import OPEN, STILL_BAD, Dirty, Fix, Settled
from tongqu.core.errors import CheckpointError, FencedError, WriteError
from tongqu.kit.ledger import CHECKPOINT, VERSION, Head, Ledger, fenced
from tongqu.kit.messages.encoder import Encoded
from tongqu.kit.quarantine import QUARANTINE, Quarantine, matching

_STORED, _SHORT = 4_096, 100_000


class Shelf:
    """A compacted topic as documents by key, read to its end when it is opened; writes wait for the next `flush`."""

    def __init__(self, cluster: Cluster, name: str):
        self._cluster = cluster
        self._topic = cluster.settings.base + name
        self.documents: dict[str, dict[str, Any]] = {}
        self._waiting: list[tuple[str, dict[str, Any] | None]] = []

    def there(self) -> bool:
        """Whether there is such a topic."""
        return bool(self._cluster.partitions(self._topic))

    def create(self) -> None:
        """Make the topic if it is not there."""
        if not self.there():
            self._cluster.create(self._topic, 1, compacted=True)

    def load(self) -> None:
        """Read the topic to its end, forgetting what waits."""
        self.documents.clear()
        self._waiting.clear()
        options: dict[str, Any] = {"isolation.level": "read_committed", "fetch.wait.max.ms": 10}
        with closing(self._cluster.consumer(**options)) as one:
            bounds = self._cluster.bounds(one, self._topic, self._cluster.partitions(self._topic))
            for part in self._cluster.whole(one, self._topic, bounds):
                for message in part:
                    key = message.key().decode()
                    if message.value() is None:
                        self.documents.pop(key, None)
                    else:
                        self.documents[key] = _document(message.value())

    def put(self, key: str, document: dict[str, Any] | None) -> None:
        """Store a document with the next flush; None takes it away."""
        if document is None:
            self.documents.pop(key, None)
        else:
            self.documents[key] = document
        self._waiting.append((key, document))

    def flush(self, pen: Pen) -> None:
        """Send what waits, the newest of each key, in the pen's transaction."""
        newest = dict(self._waiting)
        self._waiting.clear()
        for shorten in (lambda one: one, _cut):
            values = [None if one is None else _text(shorten(one)) for one in newest.values()]
            refused = pen.send(self._topic, Encoded([key.encode() for key in newest], values))
            if not refused:
                return
            newest = {key: one for number, (key, one) in enumerate(newest.items()) if number in refused}
        raise WriteError(
            f"{self._topic}: {next(iter(refused.values()))}",
            path=self._topic,
            hint="raise max.message.bytes of the topic",
        )


class KafkaLedger(Ledger):
    """`_tongqu_checkpoint`: a message for each run, stream and split, keyed by the three; see Ledger."""

    def __init__(self, cluster: Cluster):
        self._heads = Shelf(cluster, CHECKPOINT)
        self._dirty = Shelf(cluster, QUARANTINE)
        self.quarantine: KafkaQuarantine = KafkaQuarantine(self._dirty)

    def create(self) -> None:
        """See Ledger.create."""
        self._heads.create()
        self._dirty.create()

    def there(self) -> bool:
        """Whether anything was ever written."""
        return self._heads.there()

    def load(self, *, quarantine: bool = True) -> None:
        """Read what is stored; changes that were not sent are forgotten."""
        self._heads.load()
        if quarantine and self._dirty.there():
            self._dirty.load()

    def flush(self, pen: Pen) -> None:
        """Send all changes in the pen's transaction."""
        self._heads.flush(pen)
        self._dirty.flush(pen)

    def head(self, sync: str, stream: str = "", split: str = "", *, lock: bool = False) -> Head | None:
        """See Ledger.head."""
        del lock
        found = self._heads.documents.get(_name(sync, stream, split))
        return _head(found) if found else None

    def last(self, stream: str, target: str) -> Head | None:
        """See Ledger.last."""
        found = [one for name, one in self._listed() if name[1] == stream and not name[2]]
        ours = [one for one in found if one["spec"].get("target") == target]
        return _head(max(ours, key=lambda one: str(one["updated_at"]))) if ours else None

    def newest(self, target: str) -> Head | None:
        """What any stream last stored for a target."""
        found = [one for name, one in self._listed() if name[1] and not name[2] and one["spec"].get("target") == target]
        return _head(max(found, key=lambda one: str(one["updated_at"]))) if found else None

    def targets(self) -> dict[str, dict[str, Any]]:
        """What streams last stored for each target, with the latest place from which on it is whole."""
        found: dict[str, dict[str, Any]] = {}
        for name, one in sorted(self._listed(), key=lambda pair: str(pair[1]["updated_at"])):
            target = one["spec"].get("target")
            if name[1] and not name[2] and target is not None:
                places = [spec["whole"] for spec in (found.get(target, {}), one["spec"]) if "whole" in spec]
                found[target] = {**one["spec"]} | ({"whole": max(places)} if places else {})
        return found

    def splits(self, sync: str, stream: str) -> dict[str, Checkpoint]:
        """See Ledger.splits."""
        made = {}
        for name, one in sorted(self._listed(), key=lambda pair: pair[0]):
            if name[:2] == [sync, stream] and name[2]:
                head = _head(one)
                split = Split(name[2], stream, head.spec)
                made[split.id] = Checkpoint(split, head.position, head.counts, done=head.state == "done")
        return made

    def put(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """See Ledger.put."""
        self._heads.put(_name(sync, stream, split), _values(head, at))

    def add(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """See Ledger.add."""
        self.put(sync, stream, split, head, at)

    def change(self, sync: str, stream: str, split: str, head: Head, at: str) -> None:
        """See Ledger.change."""
        self.put(sync, stream, split, head, at)

    def forget_splits(self, sync: str, stream: str) -> None:
        """See Ledger.forget_splits."""
        for split in self.splits(sync, stream):
            self._heads.put(_name(sync, stream, split), None)

    def raise_fence(self, sync: str, stream: str, fence: int) -> None:
        """See Ledger.raise_fence."""
        for split in self.splits(sync, stream):
            name = _name(sync, stream, split)
            self._heads.put(name, self._heads.documents[name] | {"fence": fence})

    def advance(self, sync: str, stream: str, fence: int, checkpoint: Checkpoint, at: str) -> None:
        """See Ledger.advance."""
        name = _name(sync, stream, checkpoint.split.id)
        held = self._heads.documents.get(name)
        if held is None or held["fence"] != fence:
            raise fenced(stream)
        told = {
            "position": checkpoint.position, "counts": checkpoint.counts.to_json(), "updated_at": at,
            "state": "done" if checkpoint.done else "running",
        }  # fmt: skip
        self._heads.put(name, held | told)

    def writer(self, target: str, but: str = "", *, followed: bool = True) -> str | None:
        """See Ledger.writer."""
        for name, one in self._listed():
            told = one.get("spec") or {}
            if not name[1] or name[2] or name[0] == but or told.get("target") != target:
                continue
            if told.get("follows") and not followed:
                continue
            run = self.head(name[0])
            open_run = run is not None and (run.state, run.run) == ("running", one["run"])
            if one["state"] == "running" or open_run:
                return str(one["run"])
        return None

    def start(self, sync: str, run: str, restart: bool, at: str) -> Started:
        """See Ledger.start."""
        head = self.head(sync)
        for name, one in self._listed() if restart else ():
            if name[0] == sync and name[2]:
                self._heads.put(_name(*name), None)
            elif name[0] == sync and name[1]:
                self._heads.put(_name(*name), one | {"state": "discarded", "position": None})
        running = head is not None and head.state == "running" and not restart
        started = Started(head.run, head.attempt + 1) if head is not None and running else Started(run, 1)
        self.put(sync, "", "", Head(started.run, started.attempt, 0, "running"), at)
        return started

    def _listed(self) -> list[tuple[list[str], dict[str, Any]]]:
        return [(json.loads(name), one) for name, one in self._heads.documents.items()]


class KafkaQuarantine(Quarantine):
    """`_tongqu_quarantine`: a message for each refused row, keyed by its id; see Quarantine."""

    def __init__(self, shelf: Shelf):
        self._shelf = shelf

    def widen(self) -> None:
        """See Quarantine.widen: documents have whatever fields they are given."""

    def add(self, *, sync: str, run: str, stream: str, first: str, rows: Sequence[BadRow], at: str) -> None:
        """See Quarantine.add."""
        from tongqu.kit.quarantined import stored

        same = {"sync": sync, "run": run, "stream": stream, "at": at}
        for texts in stored(rows if isinstance(rows, BadRows) else BadRows(rows), first, same, _STORED):
            for one in texts.to_pylist():
                self._shelf.put(one["id"], one)

    def forget(self, sync: str, stream: str, run: str) -> None:
        """See Quarantine.forget."""
        told = [id for id, one in self._shelf.documents.items() if (one["sync"], one["stream"], one["run"]) ==
                (sync, stream, run)]  # fmt: skip
        for id in told:
            self._shelf.put(id, None)

    def rows(self, which: Dirty) -> list[dict[str, Any]]:
        """See Quarantine.rows."""
        return matching(self._shown(), which)

    def _shown(self) -> Iterator[dict[str, Any]]:
        held = self._shelf.documents
        for one in held.values():
            shape = one.get("shape") or ""
            if shape.startswith("="):
                shape = held.get(shape[1:], {}).get("shape") or ""
            yield one | {"shape": shape}

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Quarantine.fix."""
        done = 0
        for fix in fixes:
            values = {"state": fix.state, "history": fix.history} | ({} if fix.fixed is None else {"fixed": fix.fixed})
            done += self._change(fix.id, values)
        return done

    def settle(self, settled: Sequence[Settled]) -> None:
        """See Quarantine.settle."""
        for one in settled:
            values: dict[str, Any] = {"state": one.state}
            if one.state == STILL_BAD:
                held = self._shelf.documents.get(one.id, {})
                cause = {name: held.get(name) for name in ("code", "field", "value", "message")}
                values |= {"code": one.code, "field": one.field, "value": one.value, "message": one.message}
                values["cause"] = held.get("cause") or json.dumps(cause, ensure_ascii=False)
            if not self._change(one.id, values):
                raise FencedError(
                    "another process has replayed or discarded rows of this quarantine; nothing was written twice",
                    hint="look at them with `tongqu quarantine list` and replay what is left",
                )

    def _change(self, id: str, values: Mapping[str, Any]) -> bool:
        held = self._shelf.documents.get(id)
        if held is None or held["state"] not in OPEN:
            return False
        self._shelf.put(id, held | dict(values))
        return True


def shape(cluster: Cluster, topic: str) -> tuple[list[Any], tuple[str, ...]] | None:
    """The fields and the key of a topic as they were when Tongqu last wrote it; None if it did not."""
    from tongqu.kit.originals import schema_of

    ledger = KafkaLedger(cluster)
    if not ledger.there():
        return None
    ledger.load(quarantine=False)
    head = ledger.newest(topic.removeprefix(cluster.settings.prefix))
    if head is None or "arrow" not in head.spec:
        return None
    key = tuple(head.spec.get("key") or ()) if head.spec.get("write") != "append" else ()
    return [field.with_nullable(field.name not in key) for field in schema_of(head.spec["arrow"])], key


def _name(*parts: str) -> str:
    return json.dumps(parts, ensure_ascii=False)


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _cut(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A quarantined row whose original no message can hold, with its beginning; a checkpoint as it is."""
    if "original" not in document:
        return document
    short = {name: (document[name] or "")[:_SHORT] for name in ("original", "value")}
    return {**document, **short, "message": f"{document['message']} (only the beginning of the row is kept)"}


def _document(value: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(value))
    except ValueError:
        raise CheckpointError(
            "a checkpoint in this cluster is damaged: it is not valid JSON",
            hint="delete the topic _tongqu_checkpoint, which makes all syncs into it begin anew",
        ) from None


def _values(head: Head, at: str) -> dict[str, Any]:
    return {
        "run": head.run, "attempt": head.attempt, "fence": head.fence, "state": head.state, "spec": dict(head.spec),
        "position": head.position, "counts": head.counts.to_json(), "updated_at": at, "version": VERSION,
    }  # fmt: skip


def _head(found: Mapping[str, Any]) -> Head:
    if int(found["version"]) > VERSION:
        raise CheckpointError(
            f"the checkpoints in this sink are of a newer version (format {found['version']}, ours is {VERSION})",
            hint="run the newer version, or `tongqu sync … --restart` to begin anew",
        )
    counts = Counts.from_json(found["counts"])
    return Head(
        found["run"], int(found["attempt"]), int(found["fence"]), found["state"], found["spec"], found["position"],
        counts,
    )  # fmt: skip
