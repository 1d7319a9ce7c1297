"""Columns whose values a source did not send, noted in the schema of the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

_LACKS = b"tongqu:lacks"


def lacking(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The schema with a note that rows of it do not have these columns, since nobody sent their values."""
    return schema.with_metadata({_LACKS: json.dumps(list(names)).encode()}) if names else schema.remove_metadata()


def lacks_of(schema: pa.Schema) -> tuple[str, ...]:
    """The columns that `lacking` noted."""
    return tuple(json.loads((schema.metadata or {}).get(_LACKS, b"[]")))
