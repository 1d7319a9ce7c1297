"""The shape of what Tongqu wrote into a stream, kept in a stream beside: the newest for each."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.nats.jetstream import JetStream
from tongqu.core.errors import NotFoundError, WriteError
from tongqu.kit.messages.shapes import SHAPES, fields, shape

if TYPE_CHECKING:
    import pyarrow as pa


def remember(jetstream: JetStream, stream: str, schema: pa.Schema, key: Sequence[str]) -> None:
    """Keep what rows in a stream are like."""
    shelf = jetstream.settings.prefix + SHAPES
    jetstream.create(shelf, [f"{shelf}.*"], newest=True)
    answer = json.loads(jetstream.wire.ask(f"{shelf}.{stream}", shape(schema, key)).data or b"{}")
    if "error" in answer:
        raise WriteError(f"{shelf}: {answer['error'].get('description')}", path=jetstream.where)


def written(jetstream: JetStream, stream: str) -> tuple[list[pa.Field[Any]], tuple[str, ...]] | None:
    """Fields and key of a stream as Tongqu last wrote it; None if it did not."""
    shelf = jetstream.settings.prefix + SHAPES
    try:
        found = jetstream.message(shelf, {"last_by_subj": f"{shelf}.{stream}"})
    except NotFoundError:
        return None
    if found is None:
        return None
    return fields(json.loads(base64.b64decode(found["data"])))
