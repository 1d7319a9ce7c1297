"""Writes messages to a cluster: in transactions that fence whoever wrote before, or at least once where it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.failing import meaning, unsupported
from tongqu.core.errors import ConnectError, FencedError, TongquError, WriteError
from tongqu.kit.drivers import driver
from tongqu.kit.faults import crash_point
from tongqu.kit.messages.encoder import Encoded

_TOO_LARGE = ("MSG_SIZE_TOO_LARGE",)


class Pen:
    """One producer. Its transactional id follows from what it writes, so a second process that writes the same takes
    over, and the first can commit nothing more. Without `transactional` it is for single messages, which may be sent
    twice."""

    def __init__(self, cluster: Cluster, *what: str, transactional: bool = True):
        self._cluster = cluster
        self._exception = driver("confluent_kafka", "kafka").KafkaException
        told = hashlib.sha256("\0".join(what).encode()).hexdigest()[:24]
        self._id = f"{cluster.settings.base}tongqu-{told}"
        self._failed: list[Any] = []
        self._open = False
        self._careful = transactional
        self.transactional = transactional and cluster.settings.transactions == "auto"
        self._producer: Any = None
        self.take_over()

    def take_over(self) -> None:
        """A fresh producer; transactions that an earlier one left open are given up by the cluster."""
        seconds = self._cluster.settings.write_seconds
        self.close()
        if self.transactional:
            timeout = {"transaction.timeout.ms": int(min(max(seconds * 1000, 1000), 900_000))}
            producer = self._cluster.producer(
                **{"transactional.id": self._id, "on_delivery": self._delivered} | timeout
            )
            try:
                producer.init_transactions(self._cluster.settings.connect_seconds + seconds)
            except self._exception as error:
                if not unsupported(error):
                    raise meaning(error, self._cluster.where, writing=True) from None
                self.transactional = False
            else:
                self._producer = producer
                return
        careful = {} if self._careful else {"enable.idempotence": False}
        self._producer = self._cluster.producer(**{"on_delivery": self._delivered} | careful)

    def begin(self) -> None:
        """Begin a transaction, if none is open."""
        if not self._open:
            self._failed.clear()
            if self.transactional:
                with self._cluster.told(writing=True):
                    self._producer.begin_transaction()
            self._open = True

    def send(
        self, topic: str, messages: Encoded, headers: Sequence[tuple[str, bytes]] = (), *, partition: int = -1
    ) -> dict[int, str]:
        """Hand messages over in the open transaction; returns those that are too large, with the reason. They go into
        the partition, or that of their key (-1)."""
        refused: dict[int, str] = {}
        produce, given = self._producer.produce, list(headers) or None
        for number, (key, value) in enumerate(zip(messages.keys, messages.values, strict=True)):
            while True:
                try:
                    produce(topic, value=value, key=key, headers=given, partition=partition)
                    break
                except BufferError:
                    with self._heard():
                        self._producer.poll(0.05)
                    self._check()
                except self._exception as error:
                    if error.args[0].name() not in _TOO_LARGE:
                        raise meaning(error, self._cluster.where, writing=True) from None
                    refused[number] = f"the message is too large: {error.args[0].str()}"
                    break
        with self._heard():
            self._producer.poll(0)
        self._check()
        return refused

    def commit(self) -> None:
        """Make all durable at once; raises FencedError if another process took over, ConnectError if nobody knows."""
        self.begin()
        with self._heard():
            left = self._producer.flush(self._cluster.settings.write_seconds)
        self._check()
        if left:
            raise ConnectError(f"brokers have not taken {left} messages", path=self._cluster.where, hint="try again")
        crash_point("in_commit")
        if self.transactional:
            with self._heard():
                self._producer.commit_transaction(self._cluster.settings.write_seconds)
        self._open = False

    def abort(self) -> None:
        """Give the open transaction up; what was sent without one stays. Raises nothing."""
        if self._open and self._producer is not None:
            self._producer.purge()
            with suppress(TongquError), self._heard():  # a cluster that is away gives it up by itself, after a while
                if self.transactional:
                    self._producer.abort_transaction(self._cluster.settings.write_seconds)
                else:
                    self._producer.flush(1)
        self._open = False

    def close(self) -> None:
        """Give up what is open and release the connections; may be called twice."""
        self.abort()
        self._producer = None

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """The driver's errors as ours. One that ends the producer is raised by whatever runs its callbacks, and comes
        as the cause of a SystemError if a callback follows it."""
        try:
            with self._cluster.told(writing=True):
                yield
        except SystemError as error:
            raise meaning(error.__cause__ or error, self._cluster.where, writing=True) from None

    def _delivered(self, error: Any, message: Any) -> None:
        del message
        if error is not None and error.name() not in ("_PURGE_QUEUE", "_PURGE_INFLIGHT"):
            self._failed.append(error)

    def _check(self) -> None:
        if self._failed:
            found = meaning(self._failed[0], self._cluster.where, writing=True)
            if isinstance(found, FencedError | ConnectError):
                raise found
            raise WriteError(found.message, path=self._cluster.where, hint=found.hint)
