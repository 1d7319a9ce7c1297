"""How a sink's ledger remembers the schema that it accepted, so that the next run can tell what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.core.schema_changes import Known

SCHEMA = "schema"
"""What this run writes, once it is finished."""
BEFORE = "before"
"""What the finished run before it had written: an unfinished run is compared with this again."""


def remembered(spec: Mapping[str, Any], *, finished: bool) -> Known | None:
    """The schema that the target has by now, from a stream's stored `spec`; None if it is not known."""
    found = spec.get(SCHEMA if finished else BEFORE)
    if not found:
        return None
    columns = {str(name): str(kind) for name, kind in found["columns"]}
    return Known(columns, tuple(found["key"]), tuple(found["required"]))


def to_remember(accepted: Known, before: Known | None) -> dict[str, Any]:
    """The parts of `spec` for a run that begins or goes on."""
    return {SCHEMA: _dump(accepted)} | ({BEFORE: _dump(before)} if before is not None else {})


def _dump(known: Known) -> dict[str, Any]:
    return {
        "columns": [list(pair) for pair in known.columns.items()],
        "key": list(known.key),
        "required": list(known.required),
    }
