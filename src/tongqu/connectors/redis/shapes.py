"""The shape of what Tongqu wrote into a stream, kept in a hash beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.redis.link import Link
from tongqu.kit.messages.shapes import SHAPES, fields, shape

if TYPE_CHECKING:
    import pyarrow as pa


def remember(link: Link, stream: str, schema: pa.Schema, key: Sequence[str]) -> None:
    """Keep what rows in a stream are like."""
    with link.told():
        link.client.hset(link.settings.prefix + SHAPES, stream, json.dumps(shape(schema, key)))


def written(link: Link, stream: str) -> tuple[list[pa.Field[Any]], tuple[str, ...]] | None:
    """Fields and key of a stream as Tongqu last wrote it; None if it did not."""
    with link.told():
        found = link.client.hget(link.settings.prefix + SHAPES, stream)
    return None if found is None else fields(json.loads(found))
