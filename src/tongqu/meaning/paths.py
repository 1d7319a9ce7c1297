"""Paths into documents: `data.items[0].code` in JSON, `header/item[0]/@no` in XML."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tongqu.core.errors import InvalidPlanError

_JSON_STEP = re.compile(r"([^.\[\]\"*$]+)((?:\[\d+\])*)")
_XML_STEP = re.compile(r"([^/@\[\]*:\s]+)(?:\[(\d+)\])?")


def json_path(text: str) -> str:
    """DuckDB's JSON path for keys joined by dots, each with positions from 0. Raises InvalidPlanError for anything
    else, so that a wildcard cannot make one field out of many."""
    found = []
    for step in text.split("."):
        match = _JSON_STEP.fullmatch(step)
        if match is None:
            raise InvalidPlanError(
                f"{text!r} is no path into JSON", hint="keys with dots and positions: data.items[0].code"
            )
        found.append(f'."{match.group(1)}"{match.group(2)}')
    return "$" + "".join(found)


@dataclass(frozen=True)
class XmlPath:
    """Elements from below the root downwards, each with its position if one is given; then an attribute or the text."""

    elements: tuple[tuple[str, int | None], ...]
    attribute: str | None


def xml_path(text: str) -> XmlPath:
    """Local names joined by slashes, each with a position from 0 in brackets if it comes several times, and perhaps
    `@attribute` at the end (of the root, if alone). Raises InvalidPlanError for anything else."""
    steps = text.split("/")
    attribute = steps.pop()[1:] if steps[-1].startswith("@") else None
    matches = [_XML_STEP.fullmatch(step) for step in steps]
    if not all(matches) or attribute == "" or (not steps and attribute is None):
        raise InvalidPlanError(f"{text!r} is no path into XML", hint="elements and an attribute: header/item[0]/@no")
    elements = tuple((m.group(1), int(m.group(2)) if m.group(2) else None) for m in matches if m)
    return XmlPath(elements, attribute)
