"""A column type as a catalogue writes it, taken apart: `decimal(12,3)`, `timestamp(6) with time zone`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta

_TYPE = re.compile(r"^\s*([^(]*?)\s*(?:\(\s*([^)]*)\))?\s*([^()]*)$")


@dataclass(frozen=True)
class Native:
    """Name in lower case (words around the parentheses joined) and the numbers in them; `max` is no number."""

    name: str
    arguments: tuple[int, ...] = ()
    unbounded: bool = False
    """Written `(max)`."""

    @classmethod
    def parse(cls, text: str) -> Native:
        """Take a type apart; what is not understood becomes part of the name."""
        found = _TYPE.match(text)
        if found is None:
            return cls(text.strip().lower())
        name = " ".join(f"{found[1]} {found[3]}".lower().split())
        parts = [part.strip().split(" ")[0] for part in (found[2] or "").split(",")]
        numbers = tuple(int(part) for part in parts if part.lstrip("-").isdigit())
        return cls(name, numbers, unbounded="max" in parts)

    def argument(self, at: int, otherwise: int) -> int:
        """The number at a place in the parentheses."""
        return self.arguments[at] if at < len(self.arguments) else otherwise


def decimal(precision: int, scale: int) -> tuple[pa.DataType, str]:
    """Arrow's decimal of these digits with the logical type; text where it has none so wide."""
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale, 1)
    if precision <= 38:
        return pa.decimal128(precision, scale), ""
    return (pa.decimal256(precision, scale), "") if precision <= 76 else (pa.string(), "decimal")


def field_of(name: str, system: str, native: str, kind: tuple[pa.DataType, str] | None) -> pa.Field[Any]:
    """The field of a column; of type null if its values cannot be read."""
    found = kind or (pa.null(), "")
    metadata = {str(Meta.NATIVE): f"{system}:{native}"} | ({str(Meta.LOGICAL): found[1]} if found[1] else {})
    return pa.field(name, found[0], metadata=metadata)


def told(field: pa.Field[Any], key: Meta) -> str:
    """What a field's metadata says, or nothing."""
    return (field.metadata or {}).get(str(key).encode(), b"").decode()
