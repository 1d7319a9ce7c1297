"""Rules of the data dictionary as SQL conditions: what makes a row bad, and how to say so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, field_validator

from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError
from tongqu.core.operator import Fault
from tongqu.core.settings import Settings, titled
from tongqu.meaning.dataset_rules import KNOWN, Reference, reference_fault
from tongqu.meaning.expressions import cast, column, parse_type, type_of

if TYPE_CHECKING:
    from sqlglot import exp

Limit = int | Decimal | date | datetime | str


class Rule(Settings):
    """What one field must be. Null passes every rule but `required`; keys of the dictionary that are no rules (title,
    class, mask …) are passed over."""

    model_config = ConfigDict(extra="ignore")

    required: bool = titled("必填", "Required", False)
    """Null is bad (an empty text is not null)."""
    type: str | None = titled("类型", "Type", None)
    """Every value can be read as this type (`decimal(12,3)`, `date`)."""
    pattern: str | None = titled("模式", "Pattern", None)
    """RE2 pattern that the whole text must match; RE2 takes linear time whatever the pattern."""
    min: Limit | None = titled("最小值", "Least", None)
    """The least allowed value; NaN is out of any range."""
    max: Limit | None = titled("最大值", "Greatest", None)
    """The greatest allowed value."""
    enum: tuple[str | int | Decimal | bool, ...] | None = titled("枚举", "Allowed values", None, min_length=1)
    """The only allowed values."""
    unique: bool = titled("唯一", "Unique", False)
    """No value comes twice in the whole input; the first row of a value is good, null is no value."""

    reference: Reference | None = titled("引用", "Reference", None)
    """Every value stands in this field of another dataset: `{connection: mes, dataset: lines, field: line_id}`."""

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_type(value)
            except ExpressionError as error:
                raise ValueError(error.message) from None
        return value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                pc.match_substring_regex(pa.array([""]), value)  # RE2, as in DuckDB
            except pa.ArrowInvalid as error:
                words = str(error).removeprefix("Invalid regular expression: ")
                raise ValueError(f"the pattern is no regular expression (RE2): {words}") from None
        return value

    @property
    def empty(self) -> bool:
        """Whether it rules nothing."""
        return not (self.required or self.unique) and all(
            value is None for value in (self.type, self.pattern, self.min, self.max, self.enum, self.reference)
        )


def not_castable(tree: exp.Expr, kind: str) -> exp.Expr:
    """True for values that are not null and cannot be read as the type."""
    from sqlglot import exp

    there = exp.Not(this=exp.Is(this=tree.copy(), expression=exp.Null()))
    return exp.and_(there, exp.Is(this=cast(tree, kind, trying=True), expression=exp.Null()))


def faults(rules: Mapping[str, Rule], dataset: Dataset, path: str = "") -> list[Fault]:
    """The conditions of all rules but `unique`, field by field in the order required, type, pattern, range, enum,
    reference (over the relation `known_values` of the reference).

    Raises InvalidPlanError for a rule that makes no sense for the field's type. Fields that the dataset does not have
    are the caller's business.
    """
    found: list[Fault] = []
    for name, rule in rules.items():
        if name in dataset.columns:
            for make in _MAKERS:
                found.extend(make(name, rule, dataset.schema, path))
    return found


def _required(name: str, rule: Rule, schema: pa.Schema, path: str) -> Sequence[Fault]:
    from sqlglot import exp

    if not rule.required:
        return ()
    return [Fault("check.required", name, exp.Is(this=column(name), expression=exp.Null()), "is required")]


def _type(name: str, rule: Rule, schema: pa.Schema, path: str) -> Sequence[Fault]:
    if rule.type is None:
        return ()
    condition = not_castable(column(name), rule.type)
    _fits(condition, name, schema, f"type {rule.type}", path)
    return [Fault("check.type", name, condition, f"is not a {rule.type}")]


def _pattern(name: str, rule: Rule, schema: pa.Schema, path: str) -> Sequence[Fault]:
    from sqlglot import exp

    if rule.pattern is None:
        return ()
    test = exp.RegexpFullMatch(this=column(name), expression=exp.Literal.string(rule.pattern))
    _fits(test, name, schema, "pattern", path)
    return [Fault("check.pattern", name, _false(test), f"does not match {rule.pattern}")]


def _range(name: str, rule: Rule, schema: pa.Schema, path: str) -> Sequence[Fault]:
    from sqlglot import exp

    subject = _subject(name, rule, schema)
    found: list[Fault] = []
    if (rule.min is not None or rule.max is not None) and pa.types.is_floating(schema.field(name).type):
        found.append(Fault("check.range", name, _true(exp.IsNan(this=column(name))), "is not a number"))
    for limit, node, words in ((rule.min, exp.GTE, "is below"), (rule.max, exp.LTE, "is above")):
        if limit is not None:
            test = node(this=subject.copy(), expression=_constant(limit))
            _fits(test, name, schema, f"limit {limit}", path)
            found.append(Fault("check.range", name, _false(test), f"{words} {limit}"))
    return found


def _enum(name: str, rule: Rule, schema: pa.Schema, path: str) -> Sequence[Fault]:
    from sqlglot import exp

    if rule.enum is None:
        return ()
    test = exp.In(this=column(name), expressions=[_constant(value) for value in rule.enum])
    _fits(test, name, schema, "enum", path)
    shown = ", ".join(str(value) for value in rule.enum[:10]) + (" …" if len(rule.enum) > 10 else "")
    return [Fault("check.enum", name, _false(test), f"is none of {shown}")]


def _reference(name: str, rule: Rule, schema: pa.Schema, path: str) -> Sequence[Fault]:
    if rule.reference is None:
        return ()
    return [reference_fault(name, rule.reference, known_values(rule.reference))]


def known_values(reference: Reference) -> str:
    """The name of the relation that holds the values a reference allows."""
    return f"{KNOWN}_{hashlib.sha256(str(reference).encode()).hexdigest()[:12]}"


_MAKERS: tuple[Callable[[str, Rule, pa.Schema, str], Sequence[Fault]], ...] = (
    _required, _type, _pattern, _range, _enum, _reference,
)  # fmt: skip


def _subject(name: str, rule: Rule, schema: pa.Schema) -> exp.Expr:
    kind = schema.field(name).type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return cast(column(name), rule.type, trying=True) if text and rule.type is not None else column(name)


def _constant(value: Limit | bool) -> exp.Expr:
    from sqlglot import exp

    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, datetime):
        return exp.Literal.string(value.isoformat(sep=" "))
    if isinstance(value, date):
        return exp.Literal.string(value.isoformat())
    if isinstance(value, int | Decimal):
        return exp.Literal.number(format(value, "f") if isinstance(value, Decimal) else value)
    return exp.Literal.string(value)


def _false(test: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Coalesce(this=exp.Not(this=exp.Paren(this=test)), expressions=[exp.Boolean(this=False)])


def _true(test: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Coalesce(this=test, expressions=[exp.Boolean(this=False)])


def _fits(test: exp.Expr, name: str, schema: pa.Schema, what: str, path: str) -> None:
    try:
        type_of([test], schema)
    except ExpressionError as error:
        raise InvalidPlanError(
            f"the rule {what!r} does not fit field {name!r} of type {schema.field(name).type}: {error.message}",
            hint="cast the field before the check, or give the rule a `type`",
            path=path,
        ) from None
