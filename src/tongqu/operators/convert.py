"""Change the unit of columns, exactly where the factor allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Fault, Lineage, Operator, Projection
from tongqu.core.settings import Settings, titled
from tongqu.meaning.expressions import arrow_type, cast, column, literal, type_of
from tongqu.meaning.fields import recast, unit_of
from tongqu.meaning.rules import not_castable
from tongqu.meaning.scaling import Scaling, constant, scaled, scaling
from tongqu.meaning.units import conversion, quantity, same_dimension

if TYPE_CHECKING:
    from sqlglot import exp


class Each(Settings):
    """What one item holds, row by row: in a column (`column`, `unit`) or by kind (`by`, `amounts`)."""

    column: str | None = titled("字段", "Column", None)
    """Column with the amount one item holds."""
    unit: str | None = titled("单位", "Unit", None)
    """Unit of that column's amounts."""
    by: str | None = titled("依据字段", "By column", None)
    """Column that says what kind of item it is."""
    amounts: dict[str, str] = titled("每种含量", "Amount by kind", default_factory=dict)
    """Each kind with what one item of it holds: `{A: "12.5 kg"}`."""


class Change(Settings):
    """From which unit to which."""

    source: str | None = Field(None, alias="from", title="From")
    """The unit the values are in; by default the field's declared unit."""
    to: str = titled("目标单位", "To")
    """The unit the values shall have."""
    each: str | Each | None = titled("每件含量", "What one item holds", None)
    """For items: what one holds, `12.5 kg` for all or row by row."""
    type: str | None = titled("结果类型", "Result type", None)
    """The result's type. By default a decimal wide enough to lose nothing, or double if the factor has no end."""


class Convert(Operator):
    """Convert units: `convert: {weight: {from: g, to: kg}}`, `{boxes: {from: 箱, to: kg, each: "12.5 kg"}}`.

    Units of different dimensions are refused when planning. Decimals and integers stay exact when the factor is a
    finite decimal: the result's scale grows so that nothing is lost. A row whose amount is unknown or whose result
    does not fit a stated `type` goes to quarantine as `convert.invalid`.
    """

    verb = "convert"
    title: ClassVar[Mapping[str, str]] = {"zh": "单位换算", "en": "Convert units"}
    wraps = "columns"

    columns: dict[str, Change] = titled("字段与单位", "Column and units", min_length=1)
    """Each column with its change of unit."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [name for _, name in self.reads(inputs)])
        trees = [self._value(name, change, dataset) for name, change in self.columns.items()]
        types = dict(zip(self.columns, type_of(trees, dataset.schema), strict=True))
        fields: list[pa.Field[Any]] = [
            recast(field, *arrow_type(*types[field.name]), unit=self.columns[field.name].to)
            if field.name in types
            else field
            for field in dataset.schema
        ]
        return reshaped(dataset, fields, {c: c for c in dataset.columns if c not in self.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        for name, change in self.columns.items():
            made[name] |= {(0, other) for other in _others(change)}
        return made

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for name, change in self.columns.items() for c in (name, *_others(change))}

    def projection(self, dataset: Dataset) -> Projection:
        trees = {c: column(c) for c in dataset.columns}
        return Projection(trees | {n: self._value(n, change, dataset) for n, change in self.columns.items()})

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        return [f for name, change in self.columns.items() for f in self._faults(name, change, dataset)]

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def _faults(self, name: str, change: Change, dataset: Dataset) -> Sequence[Fault]:
        from sqlglot import exp

        found: list[Fault] = []
        there = exp.Not(this=exp.Is(this=column(name), expression=exp.Null()))
        if isinstance(change.each, Each):
            amount = self._amount(name, change, dataset)[0]
            unknown = exp.Coalesce(
                this=exp.LTE(this=amount, expression=literal(0)), expressions=[exp.Boolean(this=True)]
            )
            found.append(Fault("convert.invalid", name, exp.and_(there, unknown), "is of unknown content"))
        if change.type is not None:
            condition = not_castable(self._raw(name, change, dataset), change.type)
            found.append(Fault("convert.invalid", name, condition, f"does not fit {change.type} as {change.to}"))
        return found

    def _value(self, name: str, change: Change, dataset: Dataset) -> exp.Expr:
        raw = self._raw(name, change, dataset)
        return raw if change.type is None else cast(raw, change.type, trying=True)

    def _raw(self, name: str, change: Change, dataset: Dataset) -> exp.Expr:
        kind = dataset.schema.field(name).type
        made = self._scaling(name, change, dataset)
        if not isinstance(change.each, Each):
            return scaled(column(name), kind, made, f"{name}: {change.to}", widest=change.type is not None)
        from sqlglot import exp

        amount, divides = self._amount(name, change, dataset)
        if not divides:
            product = exp.Mul(this=column(name), expression=amount)
            ((_, product_kind),) = type_of([product], dataset.schema)
            return scaled(exp.Paren(this=product), product_kind, made, name, widest=change.type is not None)
        double = cast(scaled(column(name), kind, made, name, widest=True), "double")
        return exp.Div(this=double, expression=exp.Nullif(this=amount, expression=literal(0)))

    def _source(self, name: str, change: Change, dataset: Dataset) -> str:
        declared = unit_of(dataset.schema.field(name))
        source = change.source or declared
        if source is None:
            raise InvalidPlanError(
                f"the unit of {name!r} is not known", hint="give `from`, or a `unit` in the dictionary"
            )
        if declared and conversion(declared, source).factor != 1:
            raise InvalidPlanError(f"{name!r} is declared in {declared}, the step says {source}", hint="drop `from`")
        return source

    def _scaling(self, name: str, change: Change, dataset: Dataset) -> Scaling:
        """The constant part of the conversion."""
        kind = dataset.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)):
            raise InvalidPlanError(
                f"{name!r} is {kind}, not a number", hint=f"cast it before: cast: {{{name}: double}}"
            )
        source = self._source(name, change, dataset)
        if change.each is None:
            return scaling(conversion(source, change.to))
        number, unit = _content(change.each)
        if number <= 0:
            raise InvalidPlanError(f"one item cannot hold {change.each!r}")
        if same_dimension(unit, change.to):
            return scaling(conversion(unit, change.to), times=number)
        if same_dimension(unit, source):
            return scaling(conversion(source, unit), times=1 / number)
        raise InvalidPlanError(f"{unit} is neither a kind of {change.to} nor of {source}: {change.each!r}")

    def _amount(self, name: str, change: Change, dataset: Dataset) -> tuple[exp.Expr, bool]:
        """What one item holds as a tree, and whether it divides (from an amount to items)."""
        from sqlglot import exp

        each = change.each
        assert isinstance(each, Each)  # noqa: S101
        _, unit = _content(each)
        divides = not same_dimension(unit, change.to)
        if each.column is not None:
            return column(each.column), divides
        case = exp.Case()
        numbers = [(kind, quantity(text)) for kind, text in each.amounts.items()]
        for kind, (number, own) in numbers:
            factor = conversion(own, unit).factor * number
            case = case.when(exp.EQ(this=column(each.by or ""), expression=literal(kind)), constant(factor), copy=False)
        return case, divides


def _content(each: str | Each) -> tuple[Fraction, str]:
    """The constant number and the unit of what one item holds."""
    if isinstance(each, str):
        return quantity(each)
    if (each.column is None) == (each.by is None):
        raise InvalidPlanError("`each` needs either `column` and `unit`, or `by` and `amounts`")
    if each.column is not None:
        if each.unit is None:
            raise InvalidPlanError("`each.column` needs `each.unit`")
        return Fraction(1), each.unit
    if not each.amounts:
        raise InvalidPlanError("`each.by` needs `each.amounts`")
    return Fraction(1), quantity(next(iter(each.amounts.values())))[1]


def _others(change: Change) -> list[str]:
    each = change.each
    return [c for c in (each.column, each.by) if c is not None] if isinstance(each, Each) else []


operator = Convert
