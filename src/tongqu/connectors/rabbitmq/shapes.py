"""The shape of what Tongqu wrote into a queue, kept in a small stream queue beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.reading import between, ends
from tongqu.connectors.rabbitmq.settings import RabbitmqSettings
from tongqu.kit.messages.shapes import SHAPES, shape

if TYPE_CHECKING:
    import pyarrow as pa


def remember(settings: RabbitmqSettings, post: Any, queue: str, schema: pa.Schema, key: Sequence[str]) -> None:
    """Keep what rows in a queue are like; `post` writes a body to a queue and waits until it is confirmed."""
    shelf = settings.prefix + SHAPES
    told = {"queue": queue, **shape(schema, key)}
    known = written(settings)
    with closing(Link(settings)) as link:
        link.make(shelf, "stream")
    if known.get(queue) != told:
        post(shelf, json.dumps(told).encode())


def written(settings: RabbitmqSettings) -> dict[str, dict[str, Any]]:
    """What Tongqu last wrote, by queue; nothing where it never did."""
    shelf = settings.prefix + SHAPES
    with closing(Link(settings)) as link:
        if link.exists(shelf) is None:
            return {}
    start, end = ends(settings, shelf, settings.connect_seconds)
    found = [json.loads(message.body) for part in between(settings, shelf, start, end) for message in part]
    return {told["queue"]: told for told in found}
