"""What rows that Tongqu wrote are like, as it is kept beside them in the broker: Arrow's schema and the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SHAPES = "_tongqu_shapes"
"""Where they are kept, behind the connection's prefix."""


def shape(schema: pa.Schema, key: Sequence[str]) -> dict[str, Any]:
    """What is kept of rows."""
    from tongqu.kit.originals import shape_of

    return {"arrow": shape_of(schema), "key": list(key)}


def fields(told: Mapping[str, Any]) -> tuple[list[pa.Field[Any]], tuple[str, ...]]:
    """Fields and key as they were kept."""
    from tongqu.kit.originals import schema_of

    key = tuple(told["key"])
    return [field.with_nullable(field.name not in key) for field in schema_of(told["arrow"])], key
