"""Starts private noida-db servers (from PyPI), which speak Kafka's protocol; not Apache Kafka."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

from tongqu.testing.services.elasticsearch import noida_binary
from tongqu.testing.services.process import new_folder
from tongqu.testing.services.service import Service


class Kafka(Service):
    """One broker without login. A "database" is a prefix that all names of topics begin with."""

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "compatible"
    name: ClassVar[str] = "noida-db (Kafka)"
    _home: ClassVar[str] = ""
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    _client: Any = None

    def url_of(self, database: str) -> str:
        return f"kafka://{self.host}:{self.port}/{database}"

    def database(self, name: str | None = None) -> str:
        """The URL of a prefix that nobody has used (a random one if None)."""
        return self.url_of(name or f"t{secrets.token_hex(6)}.")

    def options(self, **more: Any) -> dict[str, Any]:
        """The driver's options for a client of this server."""
        return {"bootstrap.servers": f"{self.host}:{self.port}", "log_level": 0} | more

    def topic(self, name: str, partitions: int = 1, **config: str) -> None:
        """Makes a topic."""
        from confluent_kafka import admin

        wanted = getattr(admin, "NewTopic")(  # noqa: B009  # the stubs do not export it
            name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()}
        )
        self.admin().create_topics([wanted])[name].result(30)

    def put(
        self, topic: str, *values: bytes | None, keys: Sequence[bytes | None] = (), partition: int = 0,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Writes messages, durable when this returns."""
        from confluent_kafka import Producer

        producer = Producer(self.options(acks="all"))
        told: Any = list((headers or {}).items()) or None
        for number, value in enumerate(values):
            key = keys[number] if keys else None
            producer.produce(topic, value=value, key=key, partition=partition, headers=told)
        assert producer.flush(30) == 0

    def delete_before(self, topic: str, offset: int = -1) -> None:
        """Deletes the messages of a topic's first partition before an offset, or all that are there (-1)."""
        from confluent_kafka import TopicPartition

        for done in self.admin().delete_records([TopicPartition(topic, 0, offset)]).values():
            done.result(30)

    def admin(self) -> Any:
        """The driver's client for topics and offsets."""
        from confluent_kafka.admin import AdminClient

        if self._client is None:  # what it promises breaks when it is collected
            self._client = AdminClient(self.options())
        return self._client

    def drop(self, database: str) -> None:
        """Deletes the topics of a prefix."""
        admin = self.admin()
        names = [name for name in admin.list_topics(timeout=30).topics if database and name.startswith(database)]
        for done in (admin.delete_topics(names) if names else {}).values():
            done.result(30)

    def _create(self, database: str) -> None:
        """Nothing: a topic is there when it is made."""

    def _command(self, port: int) -> Sequence[str | Path]:
        return [noida_binary(), "start", "--data-dir", self._folder / "data", "--host", self.host, "--only", "kafka",
                "--kafka-port", str(port)]  # fmt: skip

    def _probe(self) -> str:
        from confluent_kafka import KafkaException

        try:
            self.admin().list_topics(timeout=1)
        except KafkaException as error:
            raise _NotUpError(str(error)) from error
        return version("noida-db")

    def _not_ready(self) -> type[Exception]:
        return _NotUpError


class _NotUpError(Exception):
    """It does not answer yet."""


def start_kafka() -> Kafka:
    """Starts noida-db; ServiceMissingError when it is not installed."""
    noida_binary()
    return Kafka(new_folder("tongqu-kafka-", None), None)._start()
