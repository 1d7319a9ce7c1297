"""Writes topics of a queue: blocks and checkpoint in one Kafka transaction, generations that appear at once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.connectors.kafka.queued.session import QueuedSession, sent
from tongqu.connectors.kafka.sink import KafkaSink, Landing
from tongqu.core.connector import Session
from tongqu.core.data import Opened, Split, Write
from tongqu.core.errors import InvalidPlanError, LostPositionError, SchemaError
from tongqu.kit.ledger import Head
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.queue.session import Filling, Into
from tongqu.kit.queue.shaping import of_changes, own, settled_for
from tongqu.meaning.settling import Settled

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Queued:
    """How a stream goes into its topic, the queue's id, and the name of the generation that nobody sees before it is
    finished (empty: rows hold with their commit)."""

    into: Into
    id: str
    stage: str


class QueuedSink(KafkaSink):
    """See KafkaSink. `append` and `replace` make topics of messages, or of changes where the rows bring `_op`;
    `upsert` makes topics of changes. The topic has one partition that is written."""

    def __init__(self, settings: Any):
        super().__init__(settings)
        self._schemas: dict[str, pa.Schema] = {}
        self._queued: dict[str, Queued] = {}
        self._made: set[str] = set()

    def removes(self, write: Write) -> bool:
        """See Sink.removes."""
        return of_changes(write)

    def open(self, write: Write) -> Opened:
        """See Sink.open. Raises LostPositionError where the topic is gone that the stream has filled."""
        self._able(write)
        topic = str(self._settings.topic(write.dataset.name).topic)
        with self._lock:
            self._ledger.create()
            if topic not in self._cluster.metadata().topics:  # asked for by its name, some clusters make it
                self._make(write, topic)
            return super().open(write)

    def _able(self, write: Write) -> None:
        if write.mode not in self.modes():
            modes = ", ".join(mode.value for mode in self.modes())
            raise InvalidPlanError(
                f"topics cannot be written by {write.mode.value}", path=write.stream, hint=f"valid modes: {modes}"
            )
        if not own(write.dataset.schema).names:
            raise SchemaError(f"{write.dataset.name!r} has no column", path=write.stream)

    def _make(self, write: Write, topic: str) -> None:
        self._ledger.load()
        self._stale = False
        head = self._ledger.head(write.sync, write.stream)
        if head is not None and head.state != "discarded":
            raise LostPositionError(
                f"the topic {topic}, which this stream has filled, is gone", path=write.stream,
                hint="run the same command with --restart: all rows are captured again",
            )  # fmt: skip
        self._cluster.create(topic, 1, compacted=False)
        self._made.add(topic)

    def _settled(self, write: Write, head: Head | None) -> tuple[Settled, dict[str, Any]]:
        last = head or self._ledger.last(write.stream, write.dataset.name)
        there = self._settings.topic(write.dataset.name).topic not in self._made
        settled, self._schemas[write.stream], remember = settled_for(write, last, there=there)
        return settled, remember

    def _encoder(self, write: Write) -> Encoder:
        return Encoder(self._settings.topic(""), write.dataset.schema, (), "")

    def _noted(self, write: Write, topic: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
        landing = self._landings[write.stream]
        if not landing.pen.transactional:
            raise InvalidPlanError(
                "a queue needs transactions, which this cluster does not have: rows would come twice",
                path=write.stream,
                hint="leave `engine.queue` out: the embedded queue needs no server",
            )  # fmt: skip
        known = self._ledger.targets().get(write.dataset.name, {}) if topic not in self._made else {}
        filling = Filling.of(write)
        noted = {
            "queue": known.get("queue") or secrets.token_hex(8), "changes": filling.changes,
            "unique": list(write.key or write.dataset.key),
        }  # fmt: skip
        if "whole" in known:
            noted["whole"] = known["whole"]
        if filling.staged and before is not None:
            noted |= {name: before[name] for name in ("stage", "since", "empties")}
        elif filling.staged:
            since = self._ends(topic)["0"]
            noted |= {"stage": f"{write.run}-{landing.fence}", "since": since, "empties": filling.empties}
        self._made.discard(topic)
        stage = str(noted.get("stage", ""))
        into = Into(topic, write.stream, self._schemas[write.stream], filling.changes, landing.settled)
        self._queued[write.stream] = Queued(into, str(noted["queue"]), stage)
        return noted

    def _shown(self, landing: Landing, head: Head) -> Mapping[str, Any]:
        queued = self._queued[landing.write.stream]
        if not queued.stage:
            return head.spec
        told = {name: head.spec[name] for name in ("stage", "since", "empties")}
        try:
            landing.pen.begin()
            sent(landing, [("publish", json.dumps(told).encode()), ("end", b"")], queued.id)
        except BaseException:
            self.forget()
            landing.pen.abort()
            raise
        return {**head.spec} | ({"whole": head.spec["since"]} if head.spec["empties"] else {})

    def session(self, write: Write, split: Split) -> Session:
        """See Sink.session."""
        queued = self._queued[write.stream]
        landing = self._landings[write.stream]
        return QueuedSession(self, landing, split, queued.into, queue=queued.id, stage=queued.stage)
