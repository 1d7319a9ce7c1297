"""What stays with a field when its type changes: title, class, owner and unit; not the source's own type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.core.arrow import pa
from tongqu.core.data import Meta

_MEANING = (Meta.TITLE, Meta.UNIT, Meta.CLASS, Meta.OWNER)


def metadata(field: pa.Field[Any]) -> dict[str, str]:
    """The field's metadata as text."""
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def recast(field: pa.Field[Any], kind: pa.DataType, logical: str | None, **changes: str | None) -> pa.Field[Any]:
    """The field with a new type, keeping its meaning; `changes` set or (None) remove further `Meta` keys by their
    lower-case names."""
    kept: dict[str, str] = {key: value for key, value in metadata(field).items() if key in _MEANING}
    if logical:
        kept[Meta.LOGICAL] = logical
    for name, value in changes.items():
        kept.pop(Meta[name.upper()], None)
        if value is not None:
            kept[Meta[name.upper()]] = value
    plain: Mapping[str, str] = {str(key): value for key, value in kept.items()}
    return pa.field(field.name, kind, metadata=dict(plain) or None)


def unit_of(field: pa.Field[Any]) -> str | None:
    """The unit the field is declared in."""
    return metadata(field).get(Meta.UNIT)
