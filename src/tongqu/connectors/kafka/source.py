"""Reads topics: what they hold between two offsets as rows, and what comes as a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tongqu.connectors.kafka.cluster import Cluster, lost, sifted, taken
from tongqu.connectors.kafka.settings import KafkaSettings
from tongqu.connectors.kafka.topic import Topic
from tongqu.core.data import Batch, Dataset, Position, Read, Split
from tongqu.core.errors import ConnectError, NotFoundError, TongquError
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.source import MessageSource, ended

if TYPE_CHECKING:
    from tongqu.core.log import Log


class KafkaSource(MessageSource):
    """Topics as datasets. A full read ends at the offsets that the topic had when it was cut into splits."""

    noun = "topic"

    def __init__(self, settings: KafkaSettings):
        super().__init__(settings)
        self._cluster = Cluster(settings)
        self._topics: dict[str, Topic] = {}

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield from reached(self._cluster)
        names = self._cluster.topics()
        yield f"topics: {len(names)}"
        yield from self._registered.check()
        if names:
            with closing(self._cluster.consumer()) as consumer:
                self._cluster.bounds(consumer, names[0], self._cluster.partitions(names[0]))
            yield "sample"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets. Topics are those that are there, and the datasets of the settings whose topics are."""
        prefix = len(self._settings.prefix)
        there = self._cluster.topics()
        said = {name: self._settings.topic(name).topic for name in self._settings.topics}
        names = {name: topic for name, topic in said.items() if topic in there}
        names |= {topic[prefix:]: topic for topic in there if topic not in said.values() and topic[prefix:] not in said}
        wanted = [n for n in sorted(names) if patterns is None or any(fnmatchcase(n, p) for p in patterns)]
        return [self.table(name).described() for name in wanted]

    def table(self, name: str) -> Topic:
        """See MessageSource.table."""
        if name not in self._topics:
            settings = self._settings.topic(name)
            if not self._cluster.partitions(settings.topic):
                raise NotFoundError(f"there is no topic {settings.topic!r}", path=name, hint="check name and prefix")
            known = None if settings.fields else self._written(settings.topic)
            if known is not None and settings.envelope == "plain" and settings.format == "json":
                fields, key = known
            else:
                declared = bool(settings.fields) and (not settings.changes or bool(settings.key))
                sample = [] if declared else self._cluster.newest(settings.topic, self._settings.sample)
                values, keys = [m.value() for m in sample], [m.key() for m in sample]
                fields, key = learn(settings, values, keys, self.registry)
            if not fields:
                raise self.unlearnt(name, settings.topic)
            self._topics[name] = Topic(name, settings, tuple(fields), tuple(key), self.registry)
        return self._topics[name]

    def _written(self, topic: str) -> tuple[list[Any], tuple[str, ...]] | None:
        """The fields and key of a topic that Tongqu wrote last."""
        from tongqu.connectors.kafka.ledger import shape

        return shape(self._cluster, topic)

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: a topic is cut at any offset."""
        del dataset
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: partitions, each with its bounds of now."""
        topic = self._settings.topic(dataset.name).topic
        with closing(self._cluster.consumer()) as consumer:
            bounds = self._cluster.bounds(consumer, topic, self._cluster.partitions(topic))
        count = max(1, min(wanted, len(bounds)))
        parts: list[dict[str, list[int]]] = [{} for _ in range(count)]
        for place, (partition, (low, high)) in enumerate(sorted(bounds.items())):
            parts[place % count][str(partition)] = [low, high]
        return [Split(str(number), dataset.name, {"ranges": part}) for number, part in enumerate(parts)]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. Raises InvalidPlanError for a topic of changes, whose rows are what they add up to."""
        topic: Topic = self.plain(read.dataset.name)
        told = read.split.spec.get("ranges", {})
        ends = (read.until or {}).get("offsets") or {}
        ranges = {int(p): (int(low), int(ends.get(p, high))) for p, (low, high) in told.items()}
        position = {p: low for p, (low, _) in ranges.items()}
        for partition, offset in ((read.after or {}).get("offsets") or {}).items():
            position[int(partition)] = int(offset)
        left = {p for p, (_, high) in ranges.items() if position[p] < high}
        with closing(self._cluster.consumer()) as consumer:
            for partition, (low, _) in self._cluster.bounds(consumer, topic.name, sorted(left)).items():
                if low > position[partition]:
                    raise lost(topic.name, partition, self._cluster.where, position[partition])
            yield from ended(
                read, self._bounded(read, topic, consumer, ranges, position),
                lambda: self._batch(topic, read, [], position),
                lambda held: held.position if all(position[p] >= high for p, (_, high) in ranges.items()) else None,
            )  # fmt: skip

    def _bounded(
        self, read: Read, topic: Topic, consumer: Any, ranges: dict[int, tuple[int, int]], position: dict[int, int]
    ) -> Iterator[Batch]:
        left = {p for p, (_, high) in ranges.items() if position[p] < high}
        with self._cluster.told():
            consumer.assign([self._cluster.spot(topic.name, p, position[p]) for p in sorted(left)])
        while left and not read.stop.is_set():
            with self._cluster.told():
                came = taken(consumer, read.batch_rows)
            fresh, ended = sifted(came, self._cluster.where)
            fresh = [m for m in fresh if m.offset() < ranges[m.partition()][1]]
            for message in fresh:
                position[message.partition()] = message.offset() + 1
            for (_, partition), offset in ended.items():
                position[partition] = min(max(position[partition], offset), ranges[partition][1])
            left = {p for p in left if position[p] < ranges[p][1]}
            if fresh:
                yield self._batch(topic, read, fresh, position)

    def _batch(self, topic: Topic, read: Read, messages: Sequence[Any], position: dict[int, int]) -> Batch:
        at: Position = {"offsets": {str(p): offset for p, offset in sorted(position.items())}}
        return self.batch(topic, read, messages, at)

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.kafka.log import KafkaLog

        return KafkaLog(self._cluster, name, [self.table(dataset.name) for dataset in datasets])

    def close(self) -> None:
        """See Source.close."""
        super().close()
        self._cluster.close()


def reached(cluster: Cluster) -> Iterator[str]:
    """The stages of a check up to the login, by the first broker that answers."""
    tried: TongquError | None = None
    settings = cluster.settings
    for host, port in settings.hosts():
        try:
            yield from settings.egress((host, port)).stages(host, port, seconds=settings.connect_seconds)
            break
        except ConnectError as error:
            tried = error
    else:
        assert tried is not None  # noqa: S101  # a place has a host or more
        raise tried
    brokers = len(cluster.metadata().brokers)
    yield f"tls: {'used' if settings.security.endswith('ssl') else 'not used'}"
    yield f"login ({brokers} broker{'' if brokers == 1 else 's'}; their addresses are checked, not pinned)"
