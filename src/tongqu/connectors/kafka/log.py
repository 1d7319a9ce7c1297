"""Follows topics by our own positions: what comes is read in order, whoever else is in the consumer group."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from threading import Event
from time import monotonic
from typing import Any

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.following import IDLE, TopicsLog, position
from tongqu.connectors.kafka.merging import Merger
from tongqu.connectors.kafka.pieces import Offsets, offsets
from tongqu.connectors.kafka.topic import Topic
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.lending import Part
from tongqu.core.log import Finding, Follow
from tongqu.kit.messages.logs import batches, beginning, heartbeat, only_changes


class KafkaLog(TopicsLog):
    """The messages of some topics. Partitions that are added later are read from their beginning."""

    def __init__(self, cluster: Cluster, name: str, topics: Sequence[Topic]):
        super().__init__(cluster, name, [topic.name for topic in topics])
        self._topics = {topic.name: topic for topic in topics}
        self.changes = only_changes(name, "topic", topics)

    def begin(self) -> Position:
        """See Log.begin: where topics begin or, with `start: latest`, end. Changes are always read from the beginning:
        what they add up to is the table."""
        latest = self._cluster.settings.start == "latest" and not self.changes
        at = {t: {p: b[latest] for p, b in bounds.items()} for t, bounds in self._bounds().items()}
        return self._position(at, self._same({}))

    def head(self) -> Position:
        """See Log.head."""
        return self._position(offsets(super().head()), self._same({}))

    def _same(self, known: Mapping[str, str]) -> dict[str, str]:
        """The identities of the topics; raises LostPositionError for one that was made anew, whose messages up to our
        offsets nobody has read."""
        now = {topic: self._cluster.identity(topic) for topic in self._topics}
        for topic, identity in now.items():
            if identity and known.get(topic, identity) != identity:
                raise self._lost(topic, 0)
        return {**known, **{topic: identity for topic, identity in now.items() if identity}}

    def _position(self, at: Offsets, ids: Mapping[str, str]) -> Position:
        return position(at) | ({"ids": dict(sorted(ids.items()))} if ids else {})

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside the topics of changes."""
        return beginning([*self._topics.values()])

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        at, ids = offsets(follow.after), self._same(follow.after.get("ids") or {})
        refresh = self._cluster.settings.refresh_seconds
        with closing(self._cluster.consumer(self.group)) as consumer:
            self._find(consumer, at, self._bounds())
            merger = Merger(consumer, self._cluster.ends, follow.batch_rows)
            came = {topic: dict(parts) for topic, parts in at.items()}
            looked = said = monotonic()
            while not follow.stop.is_set():
                if follow.until is not None and self.reached(position(at), follow.until):
                    return
                fresh = self._take(consumer, follow.batch_rows, came)
                if follow.by_time:
                    fresh = merger.merged(fresh, came)
                at = merger.behind_them(came)
                now = monotonic()
                if now - looked > refresh:
                    ids = self._same(ids)
                    self._add(consumer, came)
                    looked = now
                if fresh:
                    yield from self._batches(fresh, self._position(at, ids))
                    said = monotonic()
                elif now - said > IDLE:
                    said = now
                    first = next(iter(self._topics.values()))
                    yield heartbeat(first.described(), self._position(at, ids))

    def _batches(self, messages: Sequence[Any], behind: Position) -> Iterator[Batch]:
        by_topic: dict[str, list[Any]] = {}
        for message in messages:
            by_topic.setdefault(message.topic(), []).append(message)
        decoded = [(self._topics[topic].dataset, self._topics[topic].rows(some)) for topic, some in by_topic.items()]
        yield from batches(decoded, behind)

    def _add(self, consumer: Any, at: Offsets) -> None:
        """Read partitions that have been added, from their beginning."""
        for topic in self._topics:
            new = [p for p in self._cluster.partitions(topic) if p not in at[topic]]
            if not new:
                continue
            with self._cluster.told():
                consumer.list_topics(topic, self._cluster.settings.connect_seconds)  # it knows of none by itself yet
            bounds = self._cluster.bounds(consumer, topic, new)
            at[topic] |= {partition: low for partition, (low, _) in bounds.items()}
            with self._cluster.told():
                consumer.incremental_assign([self._cluster.spot(topic, p, low) for p, (low, _) in bounds.items()])

    def share(
        self, take: Callable[[str], Position | None], give_up: Callable[[str], None], rows: int, stop: Event
    ) -> Generator[Part, None, None]:
        """See Shared.share."""
        from tongqu.connectors.kafka.sharing import Member

        return Member(self._cluster, self._topics, self.group, self).read(take, give_up, rows, stop)

    def together(self, positions: Sequence[Position]) -> Position:
        """See Shared.together."""
        found: dict[str, dict[int, int]] = {}
        ids: dict[str, str] = {}
        for one in positions:
            ids |= one.get("ids") or {}
            for topic, parts in offsets(one).items():
                found.setdefault(topic, {}).update(parts)
        return self._position(found, ids)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        found = []
        for name, topic in self._topics.items():
            count = len(self._cluster.partitions(name))
            found.append(Finding("topic", "ok", f"{name}: {count} partitions, envelope {topic.settings.envelope}"))
        if self._cluster.settings.isolation == "uncommitted":
            fix = "isolation: committed"
            found.append(Finding("isolation", "warning", "messages of transactions that are given up are seen", fix))
        return found
