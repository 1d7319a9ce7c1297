"""What a type of one system becomes in another, made from the code that converts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.app.project.places import nearest
from tongqu.core import registry
from tongqu.core.connector import Types
from tongqu.core.data import Meta
from tongqu.core.errors import UnknownNameError
from tongqu.meaning.fields import metadata
from tongqu.meaning.widening import holds, room

VERDICTS = {
    "exact": "the same values in the same type",
    "wider": "every value, in a type that holds more",
    "text": "every value, as its text",
    "utc": "every instant, as UTC without its zone",
    "checked": "value by value: what does not fit goes to quarantine, nothing is rounded or cut",
    "unread": "the type cannot be read",
}

_UUID = 36
"""Characters of a UUID's text."""


def systems() -> list[str]:
    """The connectors that tell their types."""
    return [name for name in registry.names() if registry.connector(name).types is not None]


def type_table(source: str = "", sink: str = "") -> dict[str, Any]:
    """`{"types": [{"from", "to", "type", "becomes", "arrow", "verdict"}]}` for a pair of systems, or for every pair.

    Raises UnknownNameError for a name that is no system with types.
    """
    pairs = [(a, b) for a in _chosen(source) for b in _chosen(sink)]
    return {"types": [row for a, b in pairs for row in _pair(a, b)]}


def _chosen(name: str) -> Sequence[str]:
    known = systems()
    if name and name not in known:
        raise UnknownNameError(f"no system {name!r} tells its types", path="--types", hint=nearest(name, known))
    return [name] if name else known


def _types(name: str) -> Types:
    made = registry.connector(name).types
    assert made is not None, name  # noqa: S101  # `systems` lists only those
    return made()


def _pair(source: str, sink: str) -> list[dict[str, str]]:
    left, right = _types(source), _types(sink)
    rows = []
    for native in left.natives:
        field = left.field(native)
        becomes, back = right.becomes(field)
        logical = metadata(field).get(Meta.LOGICAL)
        arrow = f"{field.type} ({logical})" if logical else str(field.type)
        row = {"from": source, "to": sink, "type": native, "becomes": becomes, "arrow": arrow}
        rows.append(row | {"verdict": verdict(field, back)})
    return rows


def verdict(field: pa.Field[Any], back: pa.Field[Any]) -> str:
    """What becomes of a field's values in a column that is read back as another field; a key of VERDICTS."""
    t = pa.types
    if t.is_null(field.type):
        return "unread"
    logical, after = (metadata(one).get(Meta.LOGICAL) for one in (field, back))
    if field.type == back.type:
        return _same_type(field, back, logical, after)
    if t.is_timestamp(field.type) and t.is_timestamp(back.type):
        if field.type.tz is not None and back.type.tz is None:
            return "utc"
        return "wider" if field.type.unit != "ns" and field.type.tz == back.type.tz else "checked"
    if t.is_string(back.type) and not t.is_string(field.type):
        return "text"
    truth = t.is_boolean(field.type) and t.is_integer(back.type)
    return "wider" if truth or holds(back, field) else "checked"


def _same_type(field: pa.Field[Any], back: pa.Field[Any], logical: str | None, after: str | None) -> str:
    """Texts: of the same meaning, as plain text, or of a length that the other side may not have."""
    if logical == after:
        if not pa.types.is_string(field.type) or room(field) == room(back):
            return "exact"
        return "wider" if holds(back, field) else "checked"
    limit = room(back)
    if after in (None, "text") and (limit is None or (logical == "uuid" and limit >= _UUID)):
        return "text"
    return "checked"


def page() -> str:
    """The table of types as a page of the reference."""
    told = "".join(f"* **{word}**: {meaning}\n" for word, meaning in VERDICTS.items())
    parts = [
        "# Types 类型对照\n\nWhat a column of one system becomes in a new table of another. An existing column keeps "
        f"its type; values that it cannot hold go to quarantine.\n\n{told}"
    ]
    for source in systems():
        for sink in systems():
            parts.append(f"\n## {source} → {sink}\n\n| {source} | Arrow | {sink} | |\n|---|---|---|---|\n")
            for row in _pair(source, sink):
                parts.append(f"| `{row['type']}` | {row['arrow']} | `{row['becomes']}` | {row['verdict']} |\n")
    return "".join(parts)
