"""Values made from a schema: one that fits, those at its bounds, and those that must be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tongqu.catalog.cases.fitting import kinds_of, nullable, violations
from tongqu.kit.openapi.document import Document, as_mapping
from tongqu.kit.openapi.schemas import Flat, flat

_DEEPEST = 6
_LONG = 10_000
"""Texts beyond a limit are not made longer than this."""
_BY_FORMAT = {
    "date": "2026-01-15", "date-time": "2026-01-15T08:30:00Z", "time": "08:30:00", "email": "zhang.san@example.com",
    "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "uri": "https://example.com/a", "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1", "hostname": "host.example.com", "byte": "AAECAw==", "password": "Example-1",
}  # fmt: skip
_EDGES = {
    "date": ("0001-01-01", "9999-12-31", "2024-02-29"),
    "date-time": ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-02-29T23:59:59+08:00"),
}
_BROKEN = {"date": "2026-02-30", "date-time": "2026-13-01T00:00:00Z", "uuid": "not-a-uuid", "email": "no at sign"}


@dataclass(frozen=True)
class Variant:
    """A value that a schema's bounds speak of. `fits` tells whether it must be taken."""

    name: str
    zh: str
    en: str
    value: Any
    fits: bool


class NoValueError(Exception):
    """No value can be made: the schema's own rules contradict, or its pattern is beyond what is understood here."""


@dataclass(frozen=True)
class Maker:
    """Makes values for the schemas of a document: the same for the same `seed`, place and number. In an `answer`
    write-only fields are left out, else read-only ones."""

    document: Document
    seed: str
    answer: bool = False

    def violations(self, value: Any, node: Any) -> list[tuple[str, str]]:
        """See `fitting.violations`."""
        return violations(self.document, value, node, answer=self.answer)

    def hides(self, node: Any) -> bool:
        """Whether a field is not part of what is made."""
        return flat(self.document, node).raw.get("writeOnly" if self.answer else "readOnly") is True


def normal(maker: Maker, node: Any, *, name: str = "", depth: int = 0, number: int = 0) -> Any:
    """A value that fits: the document's own example where it has one that fits, else one made from the rules; another
    for each `number`. Optional fields are left out six levels down. Raises NoValueError."""
    raw = as_mapping(maker.document.resolved(node))
    schema = flat(maker.document, node)
    if number == 0:
        for offered in _offers(raw, schema.raw):
            if not maker.violations(offered, node):
                return offered
    choices = raw.get("enum") or schema.raw.get("enum")
    value = (
        choices[number % len(choices)]
        if isinstance(choices, list) and choices
        else raw["const"]
        if "const" in raw
        else _made(maker, schema, name, depth, number)
    )
    if maker.violations(value, node):
        for option in [*_list(raw.get("oneOf")), *_list(raw.get("anyOf"))] if depth < _DEEPEST else ():
            value = normal(maker, option, name=name, depth=depth + 1, number=number)
            if not maker.violations(value, node):
                return value
        raise NoValueError(name)
    return value


def _offers(*raws: Mapping[str, Any]) -> Iterator[Any]:
    for raw in raws:
        for key in ("example", "default"):
            if key in raw and raw[key] is not None:
                yield raw[key]
        examples = raw.get("examples")
        if isinstance(examples, list):
            yield from (one for one in examples if one is not None)


def _made(maker: Maker, schema: Flat, name: str, depth: int, number: int) -> Any:
    raw = schema.raw
    chance = Random(f"{maker.seed}/{name}/{number}")  # noqa: S311  # values for tests, the same each time
    if schema.type == "object" or schema.properties:
        return _object(maker, schema, depth, number)
    if schema.type == "array":
        count = max(1, raw.get("minItems") or 0) if depth < _DEEPEST else raw.get("minItems") or 0
        return [
            normal(maker, schema.items, name=f"{name}[]", depth=depth + 1, number=number + n)
            for n in range(min(count, 50))
        ]
    if schema.type == "boolean":
        return chance.random() < 0.5
    if schema.type in ("integer", "number"):
        low, high = bounds(raw)
        low = low if low is not None else min(1, high) if high is not None else 1
        high = high if high is not None else low + 99
        whole = chance.randint(-(-int(low * 1000) // 1000), max(int(high), -(-int(low * 1000) // 1000)))
        return whole if schema.type == "integer" or low <= whole <= high else (low + high) / 2
    if schema.type in ("string", ""):
        return _text(raw, schema.format, name, number, chance)
    if schema.type == "mixed":
        return _text({}, "", name, number, chance)
    return None


def _object(maker: Maker, schema: Flat, depth: int, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, node in schema.properties.items():
        if maker.hides(node) or (depth >= _DEEPEST and name not in schema.required):
            continue
        if depth > _DEEPEST + 2:
            raise NoValueError(name)
        try:
            made[name] = normal(maker, node, name=name, depth=depth + 1, number=number)
        except NoValueError:
            if name in schema.required:
                raise
    return made


def _text(raw: Mapping[str, Any], format: str, name: str, number: int, chance: Random) -> str:
    if format in _BY_FORMAT and number == 0:
        return _BY_FORMAT[format]
    if format in ("date", "date-time"):
        day = f"2026-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}"
        return day if format == "date" else f"{day}T08:30:00Z"
    if format == "uuid":
        return f"3f2504e0-4f89-41d3-9a0c-{chance.getrandbits(48):012x}"
    if isinstance(raw.get("pattern"), str):
        return fitting_text(raw["pattern"], chance)
    word = re.sub(r"[^\w]", "", name)[:20] or "text"
    text = f"{word}-{number + 1}"
    shortest, longest = raw.get("minLength") or 0, raw.get("maxLength")
    text += "x" * max(0, min(shortest, _LONG) - len(text))
    return text[:longest] if isinstance(longest, int) else text


_ATOM = re.compile(r"\[(?:\\.|[^\]\\])+\]|\\[dwsDWS.\-/+*?()\[\]{}|^$\\_: ]|\.|[^\\\[\](){}?*+|^$.]")
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}|[?*+]")


def fitting_text(pattern: str, chance: Random) -> str:
    """A text for a pattern of plain characters, sets, escapes and counts (`^L[0-9]{8}$`). Raises NoValueError for
    groups, alternatives and whatever else there is."""
    rest, made = pattern.removeprefix("^").removesuffix("$"), ""
    while rest:
        atom = _ATOM.match(rest)
        if atom is None:
            raise NoValueError(pattern)
        rest = rest[atom.end() :]
        count = _COUNT.match(rest)
        least = 1
        if count is not None:
            rest = rest[count.end() :]
            least = int(count[1]) if count[1] else 1
        allowed = [chr(code) for code in range(0x20, 0x7F) if re.fullmatch(atom[0], chr(code))]
        letters = [one for one in allowed if one.isalnum()] or allowed
        if not letters or least > _LONG:
            raise NoValueError(pattern)
        made += "".join(chance.choice(letters) for _ in range(least))
    return made


def bounds(raw: Mapping[str, Any]) -> tuple[Any, Any]:
    """The least and the greatest number that fit, both for whole numbers where a bound itself is excluded; None where
    there is none."""
    low, high = raw.get("minimum"), raw.get("maximum")
    over, under = raw.get("exclusiveMinimum"), raw.get("exclusiveMaximum")
    if over is True and low is not None:
        low += 1
    elif isinstance(over, int | float) and not isinstance(over, bool):
        low = max(over + 1, low) if low is not None else over + 1
    if under is True and high is not None:
        high -= 1
    elif isinstance(under, int | float) and not isinstance(under, bool):
        high = min(under - 1, high) if high is not None else under - 1
    return low, high


def variants(document: Document, node: Any, *, texts: bool = False) -> list[Variant]:
    """The values at and beyond the bounds of a schema, and of wrong types. `texts`: the value travels as text, as in
    a query, where a number cannot be told from its digits and null does not exist."""
    schema = flat(document, node)
    found = [*_limits(schema), *_choices(document, node, schema), *_kinds(document, node, schema, texts)]
    kept: list[Variant] = []
    for one in found:
        told = violations(document, one.value, node)
        if one.fits is bool(told):
            continue  # another rule of the schema says otherwise
        kept.append(one)
    return kept


def _limits(schema: Flat) -> Iterator[Variant]:
    raw = schema.raw
    if schema.type in ("integer", "number"):
        low, high = bounds(raw)
        if low is not None:
            yield Variant("least", f"最小值 {low}", f"the least, {low}", low, True)
            yield Variant("below", "小于最小值", "less than the least", low - 1, False)
        if high is not None:
            yield Variant("greatest", f"最大值 {high}", f"the greatest, {high}", high, True)
            yield Variant("above", "大于最大值", "more than the greatest", high + 1, False)
    if schema.type == "string":
        for number, value in enumerate(_EDGES.get(schema.format, ())):
            yield Variant(f"edge{number + 1}", f"边界日期 {value}", f"a date at the edge, {value}", value, True)
        if schema.format in _BROKEN:
            yield Variant("malformed", "不存在的日期或格式错误", "malformed", _BROKEN[schema.format], False)
        shortest, longest = raw.get("minLength"), raw.get("maxLength")
        if "pattern" in raw or schema.format in _BY_FORMAT:
            if "pattern" in raw:
                yield Variant("pattern", "不符合格式", "not of the pattern", "~!", False)
            if isinstance(longest, int) and longest < _LONG:
                yield Variant("too_long", "超长", "too long", "x" * (longest + 1), False)
            return
        if isinstance(shortest, int) and 0 < shortest <= _LONG:
            yield Variant(
                "shortest", f"最短 {shortest} 字", f"the shortest, {shortest} characters", "x" * shortest, True
            )
            yield Variant("too_short", "过短", "too short", "x" * (shortest - 1), False)
        if isinstance(longest, int) and longest < _LONG:
            yield Variant("longest", f"最长 {longest} 字", f"the longest, {longest} characters", "界" * longest, True)
            yield Variant("too_long", "超长", "too long", "x" * (longest + 1), False)


def _choices(document: Document, node: Any, schema: Flat) -> Iterator[Variant]:
    choices = as_mapping(document.resolved(node)).get("enum") or schema.raw.get("enum")
    if isinstance(choices, list) and choices:
        for number, value in enumerate(dict.fromkeys((str(choices[0]), str(choices[-1])))):
            real = choices[0] if number == 0 else choices[-1]
            yield Variant(f"choice{number + 1}", f"枚举值 {value}", f"the choice {value}", real, True)
        yield Variant("no_choice", "枚举之外的值", "none of the choices", "__no_such_choice__", False)


def _kinds(document: Document, node: Any, schema: Flat, texts: bool) -> Iterator[Variant]:
    if not texts and not nullable(document, node):
        yield Variant("null", "空值", "null", None, False)
    wrong: Any = {"integer": "not a number", "number": "not a number", "boolean": "perhaps", "array": "no array"}.get(
        schema.type
    )
    if schema.type == "object":
        wrong = "no object"
    if schema.type == "string" and not texts:
        wrong = {"wrong": "type"}
    if texts and schema.type in ("array", "object"):
        return
    if wrong is not None and (schema.type or kinds_of(schema.raw)):
        yield Variant("wrong_type", "类型错误", "of the wrong type", wrong, False)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
