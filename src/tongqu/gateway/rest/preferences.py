"""The `Prefer` header (RFC 7240) as PostgREST understands it, and what of it was applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeVar

from tongqu.gateway.asking import Count
from tongqu.gateway.problems import Problem

_Word = TypeVar("_Word", bound=str)
_KNOWN: dict[str, tuple[str, ...]] = {
    "count": ("exact", "planned", "estimated", "none"),
    "return": ("minimal", "headers-only", "representation"),
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
}

_PRETENDED = ("mock", "latency=real")
"""What was done before the request came here: see `gateway.mock`."""


@dataclass
class Preferences:
    """What the caller would like. `applied` is what the answer says was done; `mock` and others are left to those who
    know them, through `others`."""

    count: Count = "none"
    returned: Literal["", "minimal", "headers-only", "representation"] = ""
    resolution: Literal["", "merge-duplicates", "ignore-duplicates"] = ""
    missing: Literal["null", "default"] = "null"
    strict: bool = False
    most: int | None = None
    others: tuple[str, ...] = ()
    applied: list[str] = field(default_factory=list)

    def header(self) -> list[tuple[str, str]]:
        """`Preference-Applied`, if there is anything to say."""
        return [("preference-applied", ", ".join(self.applied))] if self.applied else []


def preferences(text: str, writing: bool) -> Preferences:
    """The parsed header. With `handling=strict` an unknown preference, or one that does not fit the method, is
    refused; otherwise it is passed over. `max-affected` needs `handling=strict`."""
    if not text:
        return Preferences()
    told: dict[str, str] = {}
    others: list[str] = []
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if value in _KNOWN.get(name, ()) or (name == "max-affected" and value.isascii() and value.isdigit()):
            told.setdefault(name, value)
        elif name:
            others.append(part.strip())
    strict = told.get("handling") == "strict"
    unfit: list[str] = [name for name in ("resolution", "missing", "max-affected") if name in told and not writing]
    if strict and ([other for other in others if other not in _PRETENDED] or unfit):
        raise Problem("query.malformed", f"these preferences are not understood here: {', '.join(others + unfit)}")
    found = Preferences(
        count=_one(told.get("count"), ("exact", "planned", "estimated")) or "none",
        returned=_one(told.get("return"), ("minimal", "headers-only", "representation")) or "",
        resolution=_one(told.get("resolution"), ("merge-duplicates", "ignore-duplicates")) or "",
        missing="default" if told.get("missing") == "default" else "null",
        strict=strict,
        most=int(told["max-affected"][:12]) if strict and writing and "max-affected" in told else None,
        others=tuple(others),
    )
    names = ("handling", "count", *(("return", "resolution", "missing", "max-affected") if writing else ()))
    found.applied = [
        f"{name}={told[name]}"
        for name in names
        if name in told and not (name == "max-affected" and not strict) and told[name] != "none"
    ]
    found.applied += [other for other in others if other in _PRETENDED]
    return found


def _one(text: str | None, known: tuple[_Word, ...]) -> _Word | None:
    return next((word for word in known if word == text), None)
