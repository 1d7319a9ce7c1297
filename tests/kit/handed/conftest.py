"""Queues of one broker, spoken to by one protocol, and what tests do to them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.connectors.messages import Bus

from tongqu.connectors.amqp1 import connector as amqp1
from tongqu.connectors.amqp1.types import decode
from tongqu.connectors.stomp import connector as stomp
from tongqu.core.connector import Connector
from tongqu.testing.services import Activemq, Rabbitmq

QUIET = 8.0
"""So long a queue is silent before a test takes it for empty: no machine is that slow."""
Held = list[tuple[dict[str, Any], bytes]]


class Queues(Bus):
    """The queues of one test, as an independent client of the broker sees them."""

    prefix: str
    dead: str

    def make(self, name: str) -> str:
        """A queue below the prefix; its address."""
        raise NotImplementedError

    def put(self, name: str, *bodies: bytes, id: str = "") -> None:
        """Write messages, whose ids are `id` and a number."""
        raise NotImplementedError

    def held(self, name: str) -> Held:
        """The messages that are in a queue and with nobody: headers and body. It may be empty afterwards."""
        raise NotImplementedError

    def ready(self, name: str) -> int:
        """How many these are, which stay there."""
        raise NotImplementedError


class InActivemq(Queues):
    """Queues of ActiveMQ, by STOMP."""

    server: Activemq
    connector = stomp
    dead = "ActiveMQ.DLQ"

    @property
    def prefix(self) -> str:  # type: ignore[override]  # made of the URL
        return self.url.rpartition("/queue/")[2]

    def _address(self, name: str) -> str:
        return f"/queue/{name if name == self.dead else self.prefix + name}"

    def make(self, name: str) -> str:
        return self._address(name)

    def put(self, name: str, *bodies: bytes, id: str = "") -> None:
        for number, body in enumerate(bodies):
            self.server.put(self._address(name), body, **({"tongqu_id": f"{id}{number}"} if id else {}))

    def held(self, name: str) -> Held:
        return [(dict(head), body) for head, body in self.server.held(self._address(name))]

    def ready(self, name: str) -> int:
        return len(self.held(name))


class InRabbitmq(Queues):
    """Queues of RabbitMQ, by STOMP or AMQP 1.0; its own client speaks AMQP 0.9.1."""

    server: Rabbitmq
    dead = "dead"

    def __init__(self, server: Rabbitmq, url: str, prefix: str, connector: Connector):
        super().__init__(server, url)
        self.prefix, self.connector = prefix, connector  # type: ignore[misc]  # of this one

    def make(self, name: str) -> str:
        dead = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": self.prefix + self.dead}
        self.server.queue(self.prefix + self.dead, "classic")
        if name != self.dead:
            self.server.queue(self.prefix + name, "classic", **dead)
        return f"/amq/queue/{self.prefix}{name}"

    def put(self, name: str, *bodies: bytes, id: str = "") -> None:
        told = [{"message_id": f"{id}{number}"} if id else {} for number in range(len(bodies))]
        self.server.put_all(self.prefix + name, list(zip(bodies, told, strict=True)))

    def held(self, name: str) -> Held:
        found = self.server.taken(self.prefix + name)
        return [(_headers(one), one.body if isinstance(one.body, bytes) else one.body.encode()) for one in found]

    def ready(self, name: str) -> int:
        return self.server.ready(self.prefix + name)


def _headers(message: Any) -> dict[str, Any]:
    """The headers as their writer gave them: the broker keeps those of AMQP 1.0 as they came, in one of its own."""
    told = message.properties
    found = dict(told.get("application_headers", {}))
    kept = found.pop("x-amqp-1.0-app-properties", None)
    if kept is not None:
        section, _ = decode(memoryview(kept if isinstance(kept, bytes) else kept.encode("utf-8", "surrogateescape")))
        found |= section.value
    return {**found, "persistent": "true" if told.get("delivery_mode") == 2 else ""}


@pytest.fixture(params=["stomp to ActiveMQ", "stomp to RabbitMQ", "amqp1 to RabbitMQ"])
def queues(request: pytest.FixtureRequest) -> Queues:
    if request.param == "stomp to ActiveMQ":
        return InActivemq(request.getfixturevalue("activemq"), request.getfixturevalue("activemq_url"))
    url: str = request.getfixturevalue("rabbitmq_url")
    server: Rabbitmq = request.getfixturevalue("rabbitmq_server")
    prefix = url.rpartition("=")[2]
    login = url.partition("://")[2].partition("@")[0]
    by = stomp if request.param.startswith("stomp") else amqp1
    port = server.stomp_port if by is stomp else server.port
    told = f"{by.name}://{login}@{server.host}:{port}/?prefix=/amq/queue/{prefix}"
    return InRabbitmq(server, told, prefix, by)
