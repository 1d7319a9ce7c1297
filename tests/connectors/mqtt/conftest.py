"""A topic that nobody has used, and what tests do to it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import Any, cast

import pytest

from tongqu.connectors.mqtt.settings import MqttSettings, from_url
from tongqu.connectors.mqtt.source import MqttSource
from tongqu.core.data import Batch, Position
from tongqu.core.log import Follow, Log
from tongqu.testing.services import Mosquitto

DEADLINE = 90.0


@dataclass
class Topics:
    """The topics of one test: all below `root`."""

    server: Mosquitto
    url: str
    folder: Path

    @property
    def root(self) -> str:
        return self.url.rpartition("/")[2]

    def settings(self, **more: Any) -> MqttSettings:
        """The connection; `orders` is all below the root, with more settings of it."""
        values = from_url(self.url).model_dump() | {"first_seconds": 0.01, "longest_seconds": 0.2}
        said = {"topic": f"{self.root}/#", "fields": {"id": "int64"}} | more
        return MqttSettings.parse(values | {"topics": {"orders": said}})

    @contextmanager
    def log(self, **more: Any) -> Iterator[Log]:
        """The log of `orders`."""
        source = MqttSource(self.settings(**more))
        source.lodge(self.folder)
        with closing(source), closing(source.log("tongqu_a", source.datasets())) as log:
            yield log


def taken(log: Log, after: Position, count: int) -> tuple[list[dict[str, Any]], list[Any], Position]:
    """So many rows and bad rows, and the position after them."""
    stop, position = Event(), after
    rows: list[dict[str, Any]] = []
    bad: list[Any] = []
    late = Timer(DEADLINE, stop.set)
    late.start()
    try:
        with closing(cast("Generator[Batch]", log.read(Follow(after, stop=stop)))) as reading:
            for batch in reading:
                rows += batch.rows.to_pylist()
                bad += batch.bad
                position = batch.position or position
                if len(rows) + len(bad) >= count:
                    break
    finally:
        late.cancel()
    return rows, bad, position


@pytest.fixture
def topics(mosquitto_server: Mosquitto, mqtt_url: str, tmp_path: Path) -> Topics:
    return Topics(mosquitto_server, mqtt_url, tmp_path / "lodge")
