"""The shape of what Tongqu wrote into a stream, kept in a stream beside: the newest for each."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.nats.jetstream import JetStream
from tongqu.core.errors import NotFoundError, WriteError

if TYPE_CHECKING:
    import pyarrow as pa

SHAPES = "_tongqu_shapes"


def remember(jetstream: JetStream, stream: str, schema: pa.Schema, key: Sequence[str]) -> None:
    """Keep what rows in a stream are like."""
    from tongqu.kit.originals import shape_of

    shelf = jetstream.settings.prefix + SHAPES
    jetstream.create(shelf, [f"{shelf}.*"], newest=True)
    told = {"arrow": shape_of(schema), "key": list(key)}
    answer = json.loads(jetstream.wire.ask(f"{shelf}.{stream}", told).data or b"{}")
    if "error" in answer:
        raise WriteError(f"{shelf}: {answer['error'].get('description')}", path=jetstream.where)


def written(jetstream: JetStream, stream: str) -> tuple[list[pa.Field[Any]], tuple[str, ...]] | None:
    """Fields and key of a stream as Tongqu last wrote it; None if it did not."""
    from tongqu.kit.originals import schema_of

    shelf = jetstream.settings.prefix + SHAPES
    try:
        found = jetstream.message(shelf, {"last_by_subj": f"{shelf}.{stream}"})
    except NotFoundError:
        return None
    if found is None:
        return None
    told = json.loads(base64.b64decode(found["data"]))
    key = tuple(told["key"])
    return [field.with_nullable(field.name not in key) for field in schema_of(told["arrow"])], key
