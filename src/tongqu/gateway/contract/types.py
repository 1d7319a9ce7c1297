"""Whether every value of one type, as contracts name it, is a value of another."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.meaning.widening import always_fits

_DECIMAL = re.compile(r"decimal(128|256)\((\d+), (-?\d+)\)")
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]")
_LIST = re.compile(r"list<(?:item|element): (.+?)(?: not null)?>")


def fits(before: tuple[str, str], after: tuple[str, str]) -> bool:
    """Whether every value of the one type (Arrow's text and the logical type) is exactly one of the other; what is not
    known fits only itself."""
    if before == after:
        return True
    old, new = _field(*before), _field(*after)
    return old is not None and new is not None and always_fits(old, new)


@lru_cache(maxsize=1024)
def _field(text: str, logical: str) -> pa.Field[Any] | None:
    kind = _type(text)
    return None if kind is None else pa.field("x", kind, metadata={Meta.LOGICAL.value: logical} if logical else None)


def _type(text: str) -> pa.DataType | None:
    if found := _DECIMAL.fullmatch(text):
        return (pa.decimal128 if found[1] == "128" else pa.decimal256)(int(found[2]), int(found[3]))
    if found := _ZONED.fullmatch(text):
        unit: Any = found[1]
        return pa.timestamp(unit, found[2])
    if found := _LIST.fullmatch(text):
        inner = _type(found[1])
        return None if inner is None else pa.list_(inner)
    named: Any = pa.type_for_alias  # typed for literal names only
    try:
        kind: pa.DataType = named(text)
    except ValueError:
        return None
    return kind
