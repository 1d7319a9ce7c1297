"""Texts with places for values: `{column}`, nothing else of Python's formats."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from tongqu.core.errors import CastError


def names_in(template: str) -> list[str]:
    """The places of a template; raises ValueError for what is no plain `{name}`."""
    found = []
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name or spec or conversion or any(character in name for character in ".[]"):
            raise ValueError(f"{template!r}: a place is a column's name in braces; write {{{{ for a brace")
        found.append(name)
    return found


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its places filled; raises CastError naming a place that has no value."""
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        parts.append(text)
        if name is not None:
            if name not in values:
                raise CastError(
                    f"there is no column {name!r} for {template!r}",
                    hint=f"places: {', '.join(values)}",
                    field=name,
                )
            parts.append(values[name])
    return "".join(parts)
