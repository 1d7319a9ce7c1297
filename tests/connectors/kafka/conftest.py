"""A fresh prefix of topics, and what tests do to it."""

from __future__ import annotations

import pytest
from tests.connectors.messages import Bus

from tongqu.connectors.kafka import connector
from tongqu.testing.services import Kafka


class Topics(Bus):
    """The topics of one test."""

    server: Kafka
    connector = connector

    @property
    def prefix(self) -> str:
        return self.url.rpartition("/")[2]

    def make(self, name: str, partitions: int = 1) -> str:
        """A topic below the prefix; its whole name."""
        self.server.topic(self.prefix + name, partitions)
        return self.prefix + name


@pytest.fixture
def topics(kafka_server: Kafka, kafka_url: str) -> Topics:
    return Topics(kafka_server, kafka_url)
