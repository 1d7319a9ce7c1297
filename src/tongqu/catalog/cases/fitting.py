"""Whether a JSON value is as a document's schema describes it: types, bounds, lengths, patterns, choices, formats.

Follows JSON Schema (2020-12) as OpenAPI 3.0/3.1 and Swagger 2 use it, `nullable` and boolean `exclusiveMinimum` of 3.0
too. `not`, `if`, `dependent…`, `contains` and `unevaluated…` are not looked at: what they forbid is let through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

from tongqu.kit.openapi.document import Document, as_mapping

_DEEPEST = 40
_ELEMENTS = 200
Wrong = tuple[str, str]


def violations(document: Document, value: Any, node: Any, *, answer: bool = False) -> list[Wrong]:
    """Where a value does not fit a schema: paths (`data.list[].weight`, `.` is the whole) with what is wrong (`type
    null choice least most shortest longest pattern format missing unknown duplicate fewest most_items none several`).
    In an `answer` write-only fields may be absent, else read-only ones. Of an array the first 200 elements are looked
    at. A schema that leads out of the document fits everything."""
    return sorted(set(_Fit(document, answer).walk(value, node, "", _DEEPEST)))


@dataclass(frozen=True)
class _Fit:
    """Walks a value and its schema side by side."""

    document: Document
    answer: bool

    def walk(self, value: Any, node: Any, path: str, left: int) -> Iterator[Wrong]:
        if node is False:
            yield path or ".", "unknown"
            return
        raw = as_mapping(self.document.resolved(node))
        if not left or not raw:
            return
        if value is None:
            if not nullable(self.document, raw):
                yield path or ".", "null"
            return
        for one in _list(raw.get("allOf")):
            yield from self.walk(value, one, path, left - 1)
        yield from self.options(value, raw, path, left)
        kinds = kinds_of(raw)
        if kinds and not any(_is(value, kind) for kind in kinds):
            yield path or ".", "type"
            return
        if not _chosen(value, raw):
            yield path or ".", "choice"
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield from ((path or ".", wrong) for wrong in _number(value, raw))
        elif isinstance(value, str):
            yield from ((path or ".", wrong) for wrong in _text(value, raw))
        elif isinstance(value, list):
            yield from self.array(value, raw, path, left)
        elif isinstance(value, dict):
            yield from self.object(value, raw, path, left)

    def options(self, value: Any, raw: Mapping[str, Any], path: str, left: int) -> Iterator[Wrong]:
        """What `anyOf` and `oneOf` demand."""
        for word in ("anyOf", "oneOf"):
            options = _list(raw.get(word))
            if not options:
                continue
            fit = sum(not any(self.walk(value, one, path, left - 1)) for one in options)
            if not fit:
                yield path or ".", "none"
            elif word == "oneOf" and fit > 1:
                yield path or ".", "several"

    def array(self, value: list[Any], raw: Mapping[str, Any], path: str, left: int) -> Iterator[Wrong]:
        fewest, most = raw.get("minItems"), raw.get("maxItems")
        if isinstance(fewest, int) and len(value) < fewest:
            yield path or ".", "fewest"
        if isinstance(most, int) and len(value) > most:
            yield path or ".", "most_items"
        if raw.get("uniqueItems") is True and any(
            _same(a, b) for n, a in enumerate(value[:50]) for b in value[n + 1 : 50]
        ):
            yield path or ".", "duplicate"
        if "items" in raw:
            for element in value[:_ELEMENTS]:
                yield from self.walk(element, raw["items"], f"{path}[]", left - 1)

    def object(self, value: dict[str, Any], raw: Mapping[str, Any], path: str, left: int) -> Iterator[Wrong]:
        known = as_mapping(raw.get("properties"))
        for name in _list(raw.get("required")):
            told = as_mapping(self.document.resolved(known.get(name)))
            if name not in value and told.get("writeOnly" if self.answer else "readOnly") is not True:
                yield _below(path, str(name)), "missing"
        patterns = as_mapping(raw.get("patternProperties"))
        others = raw.get("additionalProperties")
        for name, one in value.items():
            if name in known:
                yield from self.walk(one, known[name], _below(path, name), left - 1)
            elif any(matches(pattern, name) for pattern in patterns):
                continue
            elif others is False:
                yield _below(path, name), "unknown"
            elif isinstance(others, Mapping):
                yield from self.walk(one, others, _below(path, name), left - 1)


def _chosen(value: Any, raw: Mapping[str, Any]) -> bool:
    choices = raw.get("enum")
    if isinstance(choices, list) and not any(_same(value, one) for one in choices):
        return False
    return "const" not in raw or _same(value, raw["const"])


def _number(value: float, raw: Mapping[str, Any]) -> Iterator[str]:
    least, most = _bound(raw, "minimum"), _bound(raw, "maximum")
    over, under = _bound(raw, "exclusiveMinimum"), _bound(raw, "exclusiveMaximum")
    if least is not None and (value < least or (raw.get("exclusiveMinimum") is True and value == least)):
        yield "least"
    if most is not None and (value > most or (raw.get("exclusiveMaximum") is True and value == most)):
        yield "most"
    if over is not None and value <= over:
        yield "least"
    if under is not None and value >= under:
        yield "most"


def _bound(raw: Mapping[str, Any], name: str) -> float | None:
    told = raw.get(name)
    return told if isinstance(told, int | float) and not isinstance(told, bool) else None


def _text(value: str, raw: Mapping[str, Any]) -> Iterator[str]:
    shortest, longest, pattern = raw.get("minLength"), raw.get("maxLength"), raw.get("pattern")
    if isinstance(shortest, int) and len(value) < shortest:
        yield "shortest"
    if isinstance(longest, int) and len(value) > longest:
        yield "longest"
    if isinstance(pattern, str) and matches(pattern, value) is False:
        yield "pattern"
    check = _FORMATS.get(str(raw.get("format")))
    if check is not None and not check(value):
        yield "format"


def matches(pattern: str, value: str) -> bool | None:
    """Whether a text has a part that fits; None where the pattern is not one that can be used here, or the text is
    long enough to make a bad pattern slow."""
    if len(value) > 1000:
        return None
    try:
        return re.search(pattern.replace(r"\p{L}", r"[^\W\d_]").replace(r"\d", "[0-9]"), value) is not None
    except re.error:
        return None


def nullable(document: Document, node: Any) -> bool:
    """Whether null fits a schema."""
    raw = as_mapping(document.resolved(node))
    kinds = kinds_of(raw)
    if raw.get("nullable") is True or raw.get("x-nullable") is True or "null" in kinds:
        return True
    if kinds or (isinstance(raw.get("enum"), list) and None not in raw["enum"]):
        return False
    if "const" in raw:
        return raw["const"] is None
    if not all(nullable(document, one) for one in _list(raw.get("allOf"))):
        return False
    options = [*_list(raw.get("anyOf")), *_list(raw.get("oneOf"))]
    return not options or any(nullable(document, one) for one in options)


def kinds_of(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that a schema names itself."""
    told = raw.get("type")
    return tuple(str(one) for one in told) if isinstance(told, list) else (str(told),) if told else ()


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        whole = isinstance(value, float) and value.is_integer()
        return (isinstance(value, int) and not isinstance(value, bool)) or whole
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    known: dict[str, type] = {"string": str, "boolean": bool, "object": dict, "array": list}
    return isinstance(value, known[kind]) if kind in known else kind != "null"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parses(kind: Any) -> Any:
    def check(value: str) -> bool:
        try:
            kind(value)
        except ValueError:
            return False
        return True

    return check


def _moment(value: str) -> datetime:
    found = datetime.fromisoformat(value.replace("Z", "+00:00").replace("z", "+00:00"))
    if found.tzinfo is None or not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}", value):
        raise ValueError(value)
    return found


_FORMATS: dict[str, Any] = {
    "date": _parses(lambda value: date.fromisoformat(value) if len(value) == 10 else date.fromisoformat("-")),
    "date-time": _parses(_moment),
    "time": _parses(time.fromisoformat),
    "uuid": _parses(UUID),
    "email": re.compile(r"[^@\s]+@[^@\s]+").fullmatch,
}
