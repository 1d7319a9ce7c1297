"""Writes a rule as SQL: fields as columns, everything that varies or is text as placeholders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

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
    joined,
    operands,
)
from tongqu.gateway.policy.judging import attribute, judged, plain_pattern

if TYPE_CHECKING:
    from sqlglot import exp


def settled(rule: Rule, attributes: Mapping[str, Any]) -> Rule:
    """The rule for one actor: what reads no field is decided now, an attribute that is a list becomes its items."""
    if not isinstance(rule, Truth) and not any(isinstance(one, Named) for one in operands(rule)):
        return Truth(judged(rule, {}, attributes))
    if isinstance(rule, Both):
        return joined(rule.word, [settled(part, attributes) for part in rule.parts])
    if isinstance(rule, Not):
        part = settled(rule.part, attributes)
        return Truth(None if part.value is None else not part.value) if isinstance(part, Truth) else Not(part)
    if isinstance(rule, Tested):
        part = settled(rule.part, attributes)
        return Truth(part.value is rule.value) if isinstance(part, Truth) else Tested(part, rule.value)
    if isinstance(rule, Among):
        others = tuple(item for other in rule.others for item in _items(other, attributes))
        return replace(rule, others=others) if others else Truth(None)
    return rule


def _items(operand: Operand, attributes: Mapping[str, Any]) -> list[Operand]:
    value = attributes.get(operand.name) if isinstance(operand, Attribute) else None
    if isinstance(operand, Attribute) and isinstance(value, list | tuple | set | frozenset):
        return [replace(operand, place=place) for place in range(len(value))]
    return [operand]


def predicate(
    rule: Rule, attributes: Mapping[str, Any], name: Callable[[str], str] = str
) -> tuple[exp.Expr, dict[str, Any]]:
    """The tree of a settled rule, and the values of its placeholders. `name` makes a placeholder's name of a word."""
    writer = _Writer(attributes, name)
    return writer.rule(rule), writer.params


def both(*trees: exp.Expr | None) -> exp.Expr | None:
    """All of the conditions that are given; None if none is."""
    from sqlglot import exp

    given = [tree for tree in trees if tree is not None]
    if not given:
        return None
    return given[0] if len(given) == 1 else exp.and_(*(exp.paren(tree) for tree in given), copy=True)


class _Writer:
    def __init__(self, attributes: Mapping[str, Any], name: Callable[[str], str]) -> None:
        self.attributes, self.name = attributes, name
        self.params: dict[str, Any] = {}

    def rule(self, rule: Rule) -> exp.Expr:
        """A condition, in brackets where it needs them."""
        from sqlglot import exp

        if isinstance(rule, Truth):
            return exp.Null() if rule.value is None else exp.Boolean(this=rule.value)
        if isinstance(rule, Both):
            parts = [exp.paren(self.rule(part)) for part in rule.parts]
            return exp.and_(*parts) if rule.word == "and" else exp.or_(*parts)
        if isinstance(rule, Not):
            return exp.Not(this=exp.paren(self.rule(rule.part)))
        if isinstance(rule, Tested):
            return exp.Is(this=exp.paren(self.rule(rule.part)), expression=exp.Boolean(this=rule.value))
        if isinstance(rule, Missing):
            return exp.Is(this=self.operand(rule.operand), expression=exp.Null())
        if isinstance(rule, Holds):
            return exp.EQ(this=self.operand(rule.operand), expression=exp.Boolean(this=True))
        if isinstance(rule, Among):
            return exp.In(this=self.operand(rule.operand), expressions=[self.operand(one) for one in rule.others])
        return self._pattern(rule) if isinstance(rule, Pattern) else self._compared(rule)

    def _compared(self, rule: Compared) -> exp.Expr:
        from sqlglot import exp

        made = {"=": exp.EQ, "<>": exp.NEQ, ">": exp.GT, ">=": exp.GTE, "<": exp.LT, "<=": exp.LTE,
                "same": exp.NullSafeEQ, "other": exp.NullSafeNEQ}[rule.sign]  # fmt: skip
        tree: exp.Expr = made(this=self.operand(rule.left), expression=self.operand(rule.right))
        return tree

    def _pattern(self, rule: Pattern) -> exp.Expr:
        from sqlglot import exp

        text = judged_text(rule.pattern, self.attributes)
        made = None if text is None else plain_pattern(text, rule.escape, start=rule.start)
        bare = exp.Like(this=self.operand(rule.operand), expression=self._hole("pattern", made))
        return exp.Escape(this=bare, expression=exp.Literal.string("\\"))

    def operand(self, operand: Operand) -> exp.Expr:
        """A column, a number, a placeholder or the first of several."""
        from sqlglot import exp

        if isinstance(operand, Named):
            return exp.column(operand.name, quoted=True)
        if isinstance(operand, First):
            first, *rest = (self.operand(part) for part in operand.parts)
            return exp.Coalesce(this=first, expressions=rest)
        if isinstance(operand, Constant):
            value = operand.value
            if value is None:
                return exp.Null()
            if isinstance(value, bool):
                return exp.Boolean(this=value)
            if isinstance(value, int | Decimal):
                return exp.Literal.number(format(value, "f"))
            return self._hole("rule", value)
        place = "" if operand.place < 0 else f"_{operand.place}"
        return self._hole(f"actor_{operand.name}{place}", attribute(operand, self.attributes))

    def _hole(self, word: str, value: Any) -> exp.Expr:
        from sqlglot import exp

        name = self.name(f"{word}_{len(self.params)}")
        self.params[name] = value
        return exp.Placeholder(this=name)


def judged_text(operand: Operand, attributes: Mapping[str, Any]) -> str | None:
    """The text of a pattern, which reads no field."""
    value = operand.value if isinstance(operand, Constant) else None
    if isinstance(operand, Attribute):
        value = attribute(operand, attributes)
    return value if isinstance(value, str) else None
