"""Decides a rule for plain Python values with SQL's three-valued logic: what needs no row is decided before a query."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from tongqu.gateway.policy.conditions import (
    Among,
    Attribute,
    Both,
    Compared,
    Constant,
    First,
    Holds,
    Missing,
    Named,
    Not,
    Operand,
    Pattern,
    Rule,
    Tested,
    Truth,
)
from tongqu.gateway.policy.values import fitted

_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b, "<>": lambda a, b: a != b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
}  # fmt: skip


def judged(rule: Rule, row: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool | None:
    """Whether the rule holds for a row's values and an actor's attributes; None: unknown."""
    judge = _Judge(row, attributes)
    return judge.rule(rule)


def attribute(operand: Attribute, attributes: Mapping[str, Any]) -> Any:
    """The attribute as a value of the type it is compared as; None if it is missing, a list, or does not fit."""
    value = attributes.get(operand.name)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        value = value[operand.place] if 0 <= operand.place < len(value) else None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and str(operand.field.type) == "string":
        value = str(value)
    try:
        return fitted(value, operand.field)
    except ValueError:
        return None


def plain_pattern(text: str, escape: str, *, start: bool) -> str:
    """A pattern whose escape is the backslash. With `start` the text is what values begin with."""
    if start:
        return "".join("\\" + c if c in "\\%_" else c for c in text) + "%"
    made, plain = "", False
    for c in text:
        if escape and c == escape and not plain:
            plain = True
            continue
        made += "\\" + c if (plain and c in "\\%_") or c == "\\" else c
        plain = False
    return made


class _Judge:
    def __init__(self, row: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self.row, self.attributes = row, attributes

    def rule(self, rule: Rule) -> bool | None:
        """True, false or unknown."""
        if isinstance(rule, Truth):
            return rule.value
        if isinstance(rule, Both):
            found = [self.rule(part) for part in rule.parts]
            decisive = rule.word == "or"
            return decisive if decisive in found else None if None in found else not decisive
        if isinstance(rule, Not):
            value = self.rule(rule.part)
            return None if value is None else not value
        if isinstance(rule, Tested):
            return self.rule(rule.part) is rule.value
        if isinstance(rule, Missing):
            return self.value(rule.operand) is None
        if isinstance(rule, Holds):
            held = self.value(rule.operand)
            return None if held is None else bool(held)
        if isinstance(rule, Among):
            left = self.value(rule.operand)
            return self._any([_compared("=", left, right) for one in rule.others for right in self._items(one)])
        if isinstance(rule, Pattern):
            return self._matches(rule)
        return self._compared(rule)

    def _compared(self, rule: Compared) -> bool | None:
        left, right = self.value(rule.left), self.value(rule.right)
        if rule.sign in ("same", "other"):
            same = left is None and right is None if None in (left, right) else bool(_compared("=", left, right))
            return same is (rule.sign == "same")
        return _compared(rule.sign, left, right)

    @staticmethod
    def _any(found: list[bool | None]) -> bool | None:
        if not found:
            return None
        return True if True in found else None if None in found else False

    def _items(self, operand: Operand) -> list[Any]:
        value = self.attributes.get(operand.name) if isinstance(operand, Attribute) and operand.place < 0 else None
        if isinstance(operand, Attribute) and isinstance(value, list | tuple | set | frozenset):
            places = range(len(value))
            return [attribute(Attribute(operand.name, operand.field, place), self.attributes) for place in places]
        return [self.value(operand)]

    def _matches(self, rule: Pattern) -> bool | None:
        value, text = self.value(rule.operand), self.value(rule.pattern)
        if value is None or text is None:
            return None
        pattern = plain_pattern(text, rule.escape, start=rule.start)
        parts = re.findall(r"\\.|.", pattern, re.DOTALL)
        written = "".join({"%": ".*", "_": "."}.get(part) or re.escape(part[-1]) for part in parts)
        return re.fullmatch(written, value, re.DOTALL) is not None

    def value(self, operand: Operand) -> Any:
        """The operand's value; None for null."""
        if isinstance(operand, Named):
            return self.row[operand.name]
        if isinstance(operand, Constant):
            return operand.value
        if isinstance(operand, First):
            return next((value for part in operand.parts if (value := self.value(part)) is not None), None)
        return attribute(operand, self.attributes)


def _compared(sign: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return _SIGNS[sign](_key(left), _key(right))


def _key(value: Any) -> Any:
    """NaN equals itself and is the largest number."""
    if isinstance(value, float | Decimal):
        return (1, 0) if math.isnan(value) else (0, value)
    return (0, value) if isinstance(value, int) and not isinstance(value, bool) else value
