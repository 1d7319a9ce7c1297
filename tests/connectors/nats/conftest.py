"""A fresh prefix of streams, and what tests do to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.connectors.messages import Bus

from tongqu.connectors.nats import connector
from tongqu.testing.services import Nats


class Streams(Bus):
    """The streams of one test."""

    server: Nats
    connector = connector

    @property
    def prefix(self) -> str:
        return self.url.rpartition("/")[2]

    def make(self, name: str, *subjects: str, **config: Any) -> str:
        """A stream below the prefix; its whole name."""
        self.server.stream(self.prefix + name, *subjects, **config)
        return self.prefix + name


@pytest.fixture
def streams(nats_server: Nats, nats_url: str) -> Streams:
    return Streams(nats_server, nats_url)
