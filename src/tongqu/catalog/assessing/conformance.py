"""Compares an answer with its description: types, required fields, nulls and choices; never a word of its values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tongqu.catalog.assessing.shapes import Shape, fields
from tongqu.catalog.assessing.words import lead
from tongqu.catalog.suspicions import personal

_DEEPEST = 30
_ELEMENTS = 100
_MASKED = re.compile(r"\*{2,}|x{3,}|X{3,}|•{2,}|●{2,}")


def deviations(value: Any, shape: Shape) -> list[tuple[str, str]]:
    """Where a JSON value is not as described, each path once (`data.list[].weight`) with what is wrong: `type`,
    `missing` (required and absent), `null`, `choice`. Of an array the first 100 elements are looked at. Formats,
    lengths and patterns are not looked at."""
    return sorted(set(_walk(value, shape, "", _DEEPEST)))


def _walk(value: Any, shape: Shape, path: str, left: int) -> Iterator[tuple[str, str]]:
    if not left or not shape.typed:
        return
    if value is None:
        if not shape.nullable and shape.type != "null":
            yield path or ".", "null"
        return
    if not _fits(value, shape.type):
        yield path or ".", "type"
        return
    if shape.choices and not isinstance(value, list | dict) and str(value) not in shape.choices:
        yield path or ".", "choice"
    if isinstance(value, dict):
        for name, member in shape.members.items():
            below = f"{path}.{name}" if path else name
            if name in value:
                yield from _walk(value[name], member.shape, below, left - 1)
            elif member.required and not member.hidden:
                yield below, "missing"
    elif isinstance(value, list) and shape.items is not None:
        for element in value[:_ELEMENTS]:
            yield from _walk(element, shape.items, f"{path}[]", left - 1)


def _fits(value: Any, kind: str) -> bool:
    if kind == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    known = {"string": str, "boolean": bool, "object": dict, "array": list}
    return isinstance(value, known[kind]) if kind in known else True


def personal_fields(value: Any, shape: Shape | None) -> dict[str, bool]:
    """The fields of an answer whose names, or descriptions by its shape, speak of people's data, and whether every
    value of them is masked (`138****`) or empty."""
    said = {member.name: lead(member.description) for _, member in fields(shape)}
    found: dict[str, bool] = {}
    for path, name, text in _texts(value, "", "", _DEEPEST):
        if text and personal(name, said.get(name, ""), {}):
            found[path] = found.get(path, True) and bool(_MASKED.search(text))
    return found


def _texts(value: Any, path: str, name: str, left: int) -> Iterator[tuple[str, str, str]]:
    if not left:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else str(key), str(key), left - 1)
    elif isinstance(value, list):
        for element in value[:_ELEMENTS]:
            yield from _texts(element, f"{path}[]", name, left - 1)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, name, str(value)
