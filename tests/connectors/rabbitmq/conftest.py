"""A fresh prefix of queues, and what tests do to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.connectors.messages import Bus

from tongqu.connectors.rabbitmq import connector
from tongqu.testing.services import Rabbitmq


class Queues(Bus):
    """The queues of one test."""

    server: Rabbitmq
    connector = connector

    @property
    def prefix(self) -> str:
        return self.url.rpartition("=")[2]

    def make(self, name: str, kind: str = "quorum", **arguments: Any) -> str:
        """A queue below the prefix; its whole name."""
        self.server.queue(self.prefix + name, kind, **arguments)
        return self.prefix + name


@pytest.fixture
def queues(rabbitmq_server: Rabbitmq, rabbitmq_url: str) -> Queues:
    return Queues(rabbitmq_server, rabbitmq_url)
