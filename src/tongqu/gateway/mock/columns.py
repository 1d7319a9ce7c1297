"""Makes the values of one column: of its type, within its rules, like what is known of the real ones, nobody's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pyarrow as pa

from tongqu.catalog.cases.values import NoValueError, fitting_text
from tongqu.gateway.mock.likeness import Likeness
from tongqu.gateway.mock.persons import PERSONS
from tongqu.gateway.policy.values import family, fitted
from tongqu.meaning.rules import Rule

_BEGIN = date(2026, 1, 1)
_DAYS = 365
_TRIES = 20
_EXACT = Context(prec=100)
_HINTED = 0.7
"""Share of rows that have one of the values that somebody's rights ask for."""
_HAN = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥"
Maker = Callable[[int], Any]


@dataclass(frozen=True)
class Column:
    """What is made. `unique`: no value twice. `pool` are the only values it may have (those of another API's field that
    it leads to), `wanted` values that most rows should have."""

    field: pa.Field[Any]
    like: Likeness
    rule: Rule | None = None
    unique: bool = False
    pool: Sequence[Any] | None = None
    wanted: Sequence[Any] = ()

    def values(self, count: int, seed: str) -> list[Any]:
        """So many values, the same for the same seed; fewer rows than `count` are never given."""
        chance = Random(f"{seed}/{self.field.name}")  # noqa: S311  # made-up values, the same each time
        make = self._maker(chance)
        made: list[Any] = []
        seen: set[Any] = set()
        for number in range(count):
            value = None if not self.unique and chance.random() < self.like.gaps else make(number)
            if self.unique:
                tries = 0
                while value in seen and tries < _TRIES:
                    value, tries = make(number + count * (tries + 1)), tries + 1
                seen.add(value)
            made.append(value)
        return made

    def _maker(self, chance: Random) -> Maker:
        if self.pool is not None:
            known = [value for value in self.pool if value is not None]
            return lambda number: known[number] if self.unique and number < len(known) else _one(chance, known)
        own = self._own(chance)
        wanted = [] if self.unique else self._fitting(self.wanted)
        if not wanted:
            return own
        return lambda number: chance.choice(wanted) if chance.random() < _HINTED else own(number)

    def _own(self, chance: Random) -> Maker:
        rule, like = self.rule, self.like
        if rule is not None and rule.enum:
            allowed = self._fitting(rule.enum)
            weights = dict(like.common)
            known = [weights.get(value, 1) for value in allowed]
            return lambda _: chance.choices(allowed, known)[0]
        kind = family(self.field)
        common = self._fitting([value for value, _ in like.common])
        if common and len(common) == len(like.common) and not self.unique and kind in ("text", "int", "bool"):
            return lambda _: chance.choices(common, [count for _, count in like.common])[0]
        make = _MAKERS.get(kind)
        return make(self, chance) if make is not None else lambda _: None

    def _fitting(self, values: Sequence[Any]) -> list[Any]:
        found = []
        for value in values:
            with suppress(ValueError):
                found.append(fitted(value, self.field))
        return found

    def between(self, least: Any, greatest: Any) -> tuple[Any, Any]:
        """The range that the rule leaves of this one."""
        low, high = (
            _fit(limit, self.field) for limit in ((self.rule.min, self.rule.max) if self.rule else (None, None))
        )
        least = low if low is not None and (least is None or least < low) else least
        greatest = high if high is not None and (greatest is None or greatest > high) else greatest
        return least, max(least, greatest)


def _one(chance: Random, values: Sequence[Any]) -> Any:
    return chance.choice(values) if values else None


def _fit(value: Any, field: pa.Field[Any]) -> Any:
    try:
        return fitted(value, field)
    except ValueError:
        return None


def _drawn(column: Column, chance: Random) -> float | None:
    """A number of the distribution that a profile tells, between its known points; None if it tells none."""
    points = column.like.quantiles
    if len(points) < 2:
        return None
    share = points[0][0] + chance.random() * (points[-1][0] - points[0][0])
    for (low, least), (high, greatest) in pairwise(points):
        if share <= high:
            return least + (greatest - least) * (share - low) / ((high - low) or 1)
    return points[-1][1]


def _ints(column: Column, chance: Random) -> Maker:
    bits, signed = column.field.type.bit_width, pa.types.is_signed_integer(column.field.type)
    most = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
    if column.unique:
        first, _ = column.between(1, most)
        return lambda number: min(int(first) + number, most)
    least, greatest = column.between(0, min(999, most))

    def make(_: int) -> int:
        found = _drawn(column, chance)
        return min(max(round(found), least), greatest) if found is not None else chance.randint(least, greatest)

    if column.like.quantiles:
        least, greatest = column.between(-most - 1 if signed else 0, most)
    return make


def _decimals(column: Column, chance: Random) -> Maker:
    kind = column.field.type
    scale = kind.scale if pa.types.is_decimal(kind) else 2
    whole = kind.precision - scale if pa.types.is_decimal(kind) else 6
    most = Decimal(10) ** whole - 1
    step = Decimal(1).scaleb(-scale)
    least, greatest = column.between(Decimal(0), min(Decimal(1000), most))
    if column.like.quantiles:
        least, greatest = column.between(-most, most)
    text = pa.types.is_string(kind)

    def make(number: int) -> Any:
        found = _drawn(column, chance)
        drawn = (
            Decimal(repr(found)) if found is not None else least + (greatest - least) * Decimal(str(chance.random()))
        )
        made = min(max(drawn, least), greatest).quantize(step, ROUND_HALF_EVEN, _EXACT)
        if column.unique:
            made = (least + number * step).quantize(step, context=_EXACT)
        return str(made) if text else made

    return make


def _floats(column: Column, chance: Random) -> Maker:
    told = column.rule
    least = float(told.min) if told is not None and isinstance(told.min, int | Decimal) else 0.0
    greatest = float(told.max) if told is not None and isinstance(told.max, int | Decimal) else max(least, 0.0) + 1000.0

    def make(number: int) -> float:
        if column.unique:
            return least + number
        found = _drawn(column, chance)
        return found if found is not None else round(least + (greatest - least) * chance.random(), 3)

    return make


def _texts(column: Column, chance: Random) -> Maker:
    rule, like = column.rule, column.like
    if rule is not None and rule.pattern is not None:
        pattern = rule.pattern
        with suppress(NoValueError, re.error):
            fitting_text(pattern, chance)
            return lambda _: fitting_text(pattern, chance)
    person = PERSONS.get(like.person)
    if person is not None:
        return lambda number: person(chance, number)
    if rule is not None and rule.type is not None:
        inner = Column(pa.field(column.field.name, _kind(rule.type)), like, rule, column.unique)
        make = _MAKERS.get(family(inner.field))
        if make is not None and family(inner.field) != "text":
            values = make(inner, chance)
            return lambda number: str(values(number))
    if like.shapes:
        shapes, shares = zip(*like.shapes, strict=True)
        return lambda _: _shaped(chance.choices(shapes, shares)[0], chance)
    word = re.sub(r"\W", "", column.field.name)[:20] or "text"
    several = min(like.distinct, 10_000) if like.distinct else 20
    return lambda number: f"{word}-{number + 1 if column.unique else chance.randrange(several) + 1}"


def _shaped(pattern: str, chance: Random) -> str:
    """A text of a profile's pattern: `A` a capital, `a` a small letter, `9` a digit, `中` a Han character."""
    signs = {"A": "ABCDEFGHJKLMNPQRSTUVWXYZ", "a": "abcdefghijkmnopqrstuvwxyz", "9": "0123456789", "中": _HAN}
    return "".join(chance.choice(signs[sign]) if sign in signs else sign for sign in pattern)


def _kind(word: str) -> pa.DataType:
    from tongqu.meaning.expressions import cast, literal, type_of

    ((_, kind),) = type_of([cast(literal(None), word)], pa.schema([pa.field("x", pa.int8())]))
    return kind


def _day(column: Column, chance: Random) -> Maker:
    known = [_fit(limit, column.field) for limit in (column.like.least, column.like.greatest)]
    least, greatest = column.between(known[0] or _BEGIN, known[1] or _BEGIN + timedelta(days=_DAYS))
    span = max(0, (greatest - least).days)
    return lambda number: least + timedelta(days=number % (span + 1) if column.unique else chance.randint(0, span))


def _moment(column: Column, chance: Random) -> Maker:
    zone = UTC if family(column.field) == "instant" else None
    begin = datetime(_BEGIN.year, _BEGIN.month, _BEGIN.day, tzinfo=zone)
    known = [_fit(limit, column.field) for limit in (column.like.least, column.like.greatest)]
    least, greatest = column.between(known[0] or begin, known[1] or begin + timedelta(days=_DAYS))
    span = max(0, int((greatest - least).total_seconds()))
    return lambda number: least + timedelta(seconds=number if column.unique else chance.randint(0, span))


def _list(column: Column, chance: Random) -> Maker:
    inner = column.field.type.field(0)
    make = _MAKERS.get(family(inner))
    if make is None:
        return lambda _: []
    value = make(Column(inner, Likeness()), chance)
    return lambda number: [value(number + at) for at in range(chance.randint(1, 3))]


def _json(column: Column, chance: Random) -> Maker:
    del column
    return lambda number: json.dumps({"example": number + 1, "share": round(chance.random(), 3)})


_MAKERS: dict[str, Callable[[Column, Random], Maker]] = {
    "int": _ints, "decimal": _decimals, "float": _floats, "text": _texts, "date": _day, "timestamp": _moment,
    "instant": _moment, "list": _list, "json": _json,
    "bool": lambda column, chance: lambda _: chance.random() < 0.5,
    "time": lambda column, chance: lambda _: time(chance.randrange(24), chance.randrange(60)),
    "binary": lambda column, chance: lambda _: chance.randbytes(8),
    "uuid": lambda column, chance: lambda _: str(UUID(int=chance.getrandbits(128), version=4)),
}  # fmt: skip
