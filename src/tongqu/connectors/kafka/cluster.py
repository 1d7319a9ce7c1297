"""One Kafka cluster: clients of it, its topics and offsets, and reading topics to their end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import Any

from tongqu.connectors.kafka.failing import meaning
from tongqu.connectors.kafka.settings import KafkaSettings
from tongqu.core.errors import (
    AuthError,
    ConnectError,
    EgressRefusedError,
    InvalidSettingsError,
    NotFoundError,
    ReadError,
    TongquError,
)
from tongqu.kit.drivers import driver
from tongqu.kit.egress.policy import Grant

INTERNAL = ("__", "_tongqu_", "_schemas", "_confluent")
_SILENT = logging.getLogger("tongqu.kafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
"""The driver writes to stderr unless it is given a logger; what matters is raised."""
_ANSWER = 1.0
_EOF, _RESET, _NO_SUCH = "_PARTITION_EOF", "_AUTO_OFFSET_RESET", ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC")


class Cluster:
    """Makes clients; thread-safe. The driver opens its own sockets, so addresses are checked before it is told of them,
    and those of brokers that the cluster names as soon as it has named them."""

    def __init__(self, settings: KafkaSettings):
        self.settings = settings
        self.where = settings.display()
        self._admin: Any = None
        self._said: dict[str, Any] = {}
        self._lock = Lock()

    # ---- clients

    def options(self, **more: Any) -> dict[str, Any]:
        """The driver's options; raises EgressRefusedError, and InvalidSettingsError for hops."""
        settings = self.settings
        if settings.via:
            raise InvalidSettingsError(
                "Kafka's clients connect to every broker by themselves, so there is no way through hops", path="via",
                hint="open a way for the brokers' addresses, or run a worker at their site",
            )  # fmt: skip
        places = settings.hosts()
        way = settings.egress(*places)
        for place in places:
            way.check(place)
        options: dict[str, Any] = {
            "bootstrap.servers": ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in places),
            "client.id": "tongqu", "logger": _SILENT, "error_cb": self._heard,
            "socket.connection.setup.timeout.ms": max(1000, int(settings.connect_seconds * 1000)),
            "security.protocol": settings.security.upper(),
        }  # fmt: skip
        if settings.security.startswith("sasl"):
            options |= {"sasl.mechanism": settings.mechanism, "sasl.username": settings.user}
            options["sasl.password"] = settings.password.get_secret_value() if settings.password else ""
        if settings.security.endswith("ssl"):
            told = {"ssl.ca.location": settings.ca_file, "ssl.certificate.location": settings.certificate_file,
                    "ssl.key.location": settings.key_file}  # fmt: skip
            options |= {name: value for name, value in told.items() if value}
            if settings.key_password:
                options["ssl.key.password"] = settings.key_password.get_secret_value()
        return options | more

    def admin(self) -> Any:
        """The client for topics and offsets."""
        with self._lock:
            if self._admin is None:
                module = driver("confluent_kafka.admin", "kafka")
                with self.told():
                    self._admin = module.AdminClient(self.options())
            return self._admin

    def consumer(self, group: str = "tongqu", **more: Any) -> Any:
        """A consumer that commits nothing by itself and never jumps to another offset than it was given."""
        options = self.options(**{
            "group.id": group, "enable.auto.commit": False, "enable.auto.offset.store": False,
            "auto.offset.reset": "error", "enable.partition.eof": True, "allow.auto.create.topics": False,
            "isolation.level": f"read_{self.settings.isolation}", "queued.max.messages.kbytes": 65_536,
            "queued.min.messages": 200_000, "fetch.wait.max.ms": 100, "max.partition.fetch.bytes": 4 << 20,
        } | more)  # fmt: skip
        with self.told():
            return driver("confluent_kafka", "kafka").Consumer(options)

    def producer(self, **more: Any) -> Any:
        """A producer that keeps order and sends nothing twice."""
        settings = self.settings
        options = self.options(**{
            "enable.idempotence": True, "acks": "all", "compression.type": settings.compression, "linger.ms": 5,
            "batch.size": 1 << 20, "queue.buffering.max.messages": 500_000, "partitioner": "murmur2_random",
            "queue.buffering.max.kbytes": 131_072, "delivery.timeout.ms": int(settings.write_seconds * 1000),
        } | more)  # fmt: skip
        with self.told():
            return driver("confluent_kafka", "kafka").Producer(options)

    @contextmanager
    def told(self, *, writing: bool = False) -> Iterator[None]:
        """Driver errors as ours; a login that was refused is told instead of the silence that follows."""
        exception = driver("confluent_kafka", "kafka").KafkaException
        try:
            yield
        except exception as error:
            found = meaning(error, self.where, writing=writing)
            if isinstance(found, ConnectError) and "login" in self._said:
                found = meaning(self._said["login"], self.where)
            raise found from None

    def _heard(self, error: Any) -> None:
        if isinstance(meaning(error, self.where), AuthError) or error.name() == "_SSL":
            self._said["login"] = error

    # ---- topics

    def metadata(self, topic: str | None = None) -> Any:
        """What the cluster tells of topics and brokers; raises ConnectError, AuthError, EgressRefusedError."""
        deadline = monotonic() + self.settings.connect_seconds
        admin = self.admin()
        while True:
            try:
                with self.told():
                    found = admin.list_topics(**({"topic": topic} if topic else {}), timeout=2)
                break
            except ConnectError:
                admin.poll(0)
                if "login" in self._said:
                    raise meaning(self._said["login"], self.where) from None
                if monotonic() > deadline:
                    raise
        self._check_brokers(found)
        return found

    def _check_brokers(self, found: Any) -> None:
        named = self.settings.hosts()
        way = self.settings.egress(*named, allow=self.settings.networks)
        for broker in found.brokers.values():
            place = (broker.host, broker.port)
            try:
                way.check(place, Grant.OPERATOR if place in named else Grant.DATA)
            except EgressRefusedError as error:
                hint = "name all brokers in host, or their network in networks"
                raise EgressRefusedError(error.message, path=self.where, hint=hint) from None

    def topics(self) -> list[str]:
        """The names of topics that are no internal ones, below the prefix."""
        prefix = self.settings.base
        names = [name for name in self.metadata().topics if name.startswith(prefix)]
        return sorted(name for name in names if not name[len(prefix) :].startswith(INTERNAL) and name[:2] != "__")

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic; none if there is no such topic."""
        found = self.metadata(topic).topics.get(topic)
        if found is None or (found.error is not None and found.error.name() in _NO_SUCH):
            return []
        if found.error is not None:
            raise meaning(found.error, self.where)
        return sorted(found.partitions)

    def identity(self, topic: str) -> str:
        """What tells a topic from another one of its name, made before or after it (KIP-516); empty where the cluster
        does not tell, or has no such topic."""
        module = driver("confluent_kafka", "kafka")
        try:
            with self.told():
                asked = self.admin().describe_topics(module.TopicCollection([topic]))[topic]
                found = str(asked.result(self.settings.connect_seconds).topic_id)
        except (NotFoundError, ReadError):
            return ""
        return found if found.strip("A") else ""

    def create(self, topic: str, partitions: int, *, compacted: bool) -> None:
        """Make a topic; harmless if it is there."""
        module = driver("confluent_kafka.admin", "kafka")
        config = {"cleanup.policy": "compact"} if compacted else {}
        wanted = module.NewTopic(topic, partitions, self.settings.replication, config=config)
        try:
            with self.told(writing=True):
                self.admin().create_topics([wanted])[topic].result(self.settings.write_seconds)
        except TongquError as error:
            if "TOPIC_ALREADY_EXISTS" not in error.message:
                raise

    def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete the messages before these offsets."""
        made = [self.spot(topic, partition, offset) for partition, offset in offsets.items() if offset > 0]
        if not made:
            return
        with self.told(writing=True):
            for one in self.admin().delete_records(made).values():
                one.result(self.settings.write_seconds)

    def forget(self, group: str) -> None:
        """Delete a consumer group with its offsets; harmless if there is none."""
        with self.told():
            made = self.admin().delete_consumer_groups([group])[group]
            made.exception(self.settings.write_seconds)

    def groups(self) -> list[str]:
        """The consumer groups that there are."""
        with self.told():
            found = self.admin().list_consumer_groups().result(self.settings.connect_seconds)
        return sorted(one.group_id for one in found.valid)

    def committed(self, topic: str, groups: Sequence[str]) -> dict[str, int]:
        """The offsets that groups told for the first partition of a topic."""
        told = {}
        for group in groups:
            with closing(self.consumer(group)) as one, self.told():
                (spot,) = one.committed([self.spot(topic, 0, 0)], self.settings.connect_seconds)
            if spot.offset >= 0:
                told[group] = int(spot.offset)
        return told

    # ---- offsets

    def spot(self, topic: str, partition: int, offset: int) -> Any:
        """The driver's word for a place in a topic."""
        return driver("confluent_kafka", "kafka").TopicPartition(topic, partition, offset)

    def bounds(self, consumer: Any, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The first offset that is kept, and that of the next message, by partition."""
        found = {}
        with self.told():
            for partition in partitions:
                spot = self.spot(topic, partition, 0)
                found[partition] = consumer.get_watermark_offsets(spot, self.settings.connect_seconds)
        return found

    def ends(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offsets behind the last messages that a reader may see now, without those that no broker told within a
        second. Messages of a transaction that is open, and what is behind them, do not count with `committed`."""
        module, levels = driver("confluent_kafka.admin", "kafka"), driver("confluent_kafka", "kafka").IsolationLevel
        level = levels.READ_COMMITTED if self.settings.isolation == "committed" else levels.READ_UNCOMMITTED
        wanted = {self.spot(topic, partition, 0): module.OffsetSpec.latest() for topic, partition in places}
        found = {}
        with suppress(ConnectError, ReadError, NotFoundError), self.told():
            asked = self.admin().list_offsets(wanted, isolation_level=level, request_timeout=_ANSWER)
            for spot, one in asked.items():
                with suppress(ConnectError, ReadError, NotFoundError, TimeoutError), self.told():
                    found[(spot.topic, spot.partition)] = int(one.result(self.settings.connect_seconds).offset)
        return {place: offset for place, offset in found.items() if offset >= 0}  # below: a broker that is gone

    def whole(self, consumer: Any, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[list[Any]]:
        """The messages of a topic between offsets, as they come; raises ReadError when nothing comes for long."""
        left = {partition: end for partition, (first, end) in ranges.items() if first < end}
        if not left:
            return
        with self.told():
            consumer.assign([self.spot(topic, p, ranges[p][0]) for p in left])
            deadline = monotonic() + self.settings.write_seconds
            while left:
                fresh, ended = sifted(taken(consumer, 10_000), self.where)
                fresh = [m for m in fresh if m.partition() in left and m.offset() < ranges[m.partition()][1]]
                for message in fresh:
                    if message.offset() + 1 >= ranges[message.partition()][1]:
                        left.pop(message.partition(), None)
                for partition, offset in ended.items():
                    if offset >= ranges[partition[1]][1]:
                        left.pop(partition[1], None)
                if fresh:
                    deadline = monotonic() + self.settings.write_seconds
                    yield fresh
                elif monotonic() > deadline:
                    raise ReadError(f"{topic} gives no more messages, and is not at its end", path=self.where)
            consumer.unassign()

    def newest(self, topic: str, count: int) -> list[Any]:
        """Up to so many of the newest messages of each partition."""
        with closing(self.consumer()) as consumer:
            bounds = self.bounds(consumer, topic, self.partitions(topic))
            ranges = {p: (max(low, high - count), high) for p, (low, high) in bounds.items()}
            return [message for part in self.whole(consumer, topic, ranges) for message in part]

    def close(self) -> None:
        """Release the connections; may be called twice."""
        with self._lock:
            self._admin = None


def taken(consumer: Any, most: int, seconds: float = 0.1) -> list[Any]:
    """What has come: waits so long for one message or word of the driver, and takes the others that are there."""
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(max(most - 1, 1), 0)]


def sifted(messages: Sequence[Any], where: str) -> tuple[list[Any], dict[tuple[str, int], int]]:
    """The messages proper, and the offsets of partitions that are at their end; raises for errors."""
    ended: dict[tuple[str, int], int] = {}
    fresh = []
    for message in messages:
        error = message.error()
        if error is None:
            fresh.append(message)
        elif error.name() == _EOF:
            ended[(message.topic(), message.partition())] = message.offset()
        elif error.name() == _RESET:
            raise lost(message.topic(), message.partition(), where)
        else:
            raise meaning(error, where)
    return fresh, ended


def lost(topic: str, partition: int, where: str, offset: int | None = None) -> TongquError:
    """The error for a position that the topic does not have any more."""
    from tongqu.core.errors import LostPositionError

    at = f"offset {offset}" if offset is not None else "our offset"
    return LostPositionError(
        f"partition {partition} of topic {topic} does not have {at} any more: its retention was overtaken, messages "
        "were deleted, or the topic was made anew",
        path=where,
        hint="raise retention.ms of the topic above the longest outage; then sync again with --restart, which reads "
        "what the topic still has",
    )
