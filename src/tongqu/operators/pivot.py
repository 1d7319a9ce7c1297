"""Turn rows into columns: one row a group, with a column for each declared value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import BeforeValidator, StrictBool, StrictInt, StrictStr, WithJsonSchema

from tongqu.core.columns import need_columns, no_duplicates
from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError
from tongqu.core.operator import Fault, Lineage, Operator
from tongqu.core.settings import Names, titled
from tongqu.meaning.expressions import arrow_type, column, relation_types, render, type_of
from tongqu.meaning.fields import metadata, recast
from tongqu.meaning.sandbox import only_one, quoted, relation_names

if TYPE_CHECKING:
    from sqlglot import exp

_SHAPES: dict[str, Any] = {"anyOf": [{"type": "array"}, {"type": "object", "additionalProperties": {"type": "string"}}]}
Value = StrictBool | StrictInt | StrictStr | date | Decimal


def _named(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return tuple(raw.items())
    values = raw if isinstance(raw, list | tuple) else [raw]
    return tuple(value if isinstance(value, list | tuple) else (value, str(value)) for value in values)


Values = Annotated[tuple[tuple[Value, str], ...], BeforeValidator(_named), WithJsonSchema(_SHAPES)]


class Pivot(Operator):
    """Turn rows into columns: `pivot: {column: month, value: qty, values: ["01", "02"]}`.

    ```yaml
    - pivot: {by: [lot_no], column: item, value: result, values: {W: weight, L: length}, take: one, others: others}
    ```

    One row for each group of `by` (by default all columns but the two), nulls being a group of their own, with one
    column for each declared value, named by it or as the mapping says. `take` says what stands in a cell: `one` value
    (several stop the run with data.duplicate), or `sum`, `min`, `max`, `avg`, `count` of them; a cell without rows is
    null (0 for `count`). A row with a value that is not declared, or null, goes to quarantine as `pivot.undeclared`,
    unless `others` names a column that takes all such rows together: nothing is left out silently.
    """

    verb = "pivot"
    title: ClassVar[Mapping[str, str]] = {"zh": "行转列", "en": "Pivot"}
    row_wise = False

    by: Names | None = titled("分组字段", "Group by", None)
    """Columns that make a row; by default all that are neither `column` nor `value`."""
    column: str = titled("列名字段", "Column", ...)
    """The column whose values become columns."""
    value: str = titled("值字段", "Value", ...)
    """The column that fills the cells."""
    values: Annotated[tuple[tuple[Value, str], ...], BeforeValidator(_named), WithJsonSchema(_SHAPES)] = titled(
        "列值", "Values", min_length=1
    )
    """The values that become columns: a list, or a mapping value: column name."""
    take: Literal["one", "sum", "min", "max", "avg", "count"] = titled("取值方式", "Take", "one")
    """What stands in a cell."""
    others: str | None = titled("其他值字段", "Others", None)
    """A column for the rows whose value is not declared."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [self.column, self.value, *(self.by or ())])
        wrong = [c for c in self._by(dataset) if c in (self.column, self.value)]
        if wrong or self.column == self.value:
            raise InvalidPlanError(f"{(wrong or [self.value])[0]!r} cannot be used twice in a pivot")
        self._fits(dataset)
        names = [*self._by(dataset), *self._cells()]
        no_duplicates(names, self.verb)
        fields = [dataset.schema.field(c).with_nullable(True) for c in self._by(dataset)]
        types = {name: arrow_type(kind, arrow) for name, kind, arrow in self._types(dataset)}
        out = relation_names(names)
        old = dataset.schema.field(self.value)
        for name in self._cells():
            found, logical = types[out[name]]
            made = recast(old, found, metadata(old).get("tongqu.logical") if found == old.type else logical, title=None)
            counted = self.take == "count"
            fields.append(pa.field(name, found) if counted else made.with_name(name).with_nullable(True))
        return Dataset(dataset.name, pa.schema(fields), key=self._by(dataset))

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in self._by(inputs[0])}
        return made | {name: {(0, self.value)} for name in self._cells()}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in self._by(inputs[0])}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in (*self._by(inputs[0]), self.column, self.value)}

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        from sqlglot import exp

        if self.others is not None:
            return ()
        declared = exp.Coalesce(this=self._declared(), expressions=[exp.Boolean(this=False)])
        shown = ", ".join(str(value) for value, _ in self.values[:10]) + (" …" if len(self.values) > 10 else "")
        return [Fault("pivot.undeclared", self.column, exp.Not(this=declared), f"is none of {shown}")]

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        (dataset,) = inputs
        names = relation_names(dataset.columns)
        by = self._by(dataset)
        out = relation_names([*by, *self._cells()])
        items = [f"{quoted(names[c])} AS {quoted(out[c])}" for c in by]
        items += [f"{self._cell(value, names)} AS {quoted(out[name])}" for value, name in self.values]
        if self.others is not None:
            declared = f"NOT coalesce({render(self._declared(), names)}, false)"
            items.append(f"{self._taken(declared, names, self.others)} AS {quoted(out[self.others])}")
        group = ", ".join(quoted(names[c]) for c in by)
        tail = f" GROUP BY {group}" if group else " HAVING count(*) > 0"
        return f"SELECT {', '.join(items)} FROM {relations[0]}{tail}"

    def _cell(self, value: Value, names: Mapping[str, str]) -> str:
        from sqlglot import exp

        return self._taken(render(exp.EQ(this=column(self.column), expression=_constant(value)), names), names, value)

    def _taken(self, condition: str, names: Mapping[str, str], value: Value) -> str:
        cell = quoted(names[self.value])
        if self.take == "count":
            return f"count(*) FILTER (WHERE {condition})"
        if self.take != "one":
            return f"{self.take}({cell}) FILTER (WHERE {condition})"
        several = only_one(f"count(*) FILTER (WHERE {condition}) > 1", f"the cell {value} of", "'a group'")
        return f"CASE WHEN {several} = 0 THEN any_value({cell}) FILTER (WHERE {condition}) END"

    def _by(self, dataset: Dataset) -> tuple[str, ...]:
        return (
            self.by if self.by is not None else tuple(c for c in dataset.columns if c not in (self.column, self.value))
        )

    def _cells(self) -> list[str]:
        return [name for _, name in self.values] + ([self.others] if self.others is not None else [])

    def _declared(self) -> exp.Expr:
        from sqlglot import exp

        return exp.In(this=column(self.column), expressions=[_constant(value) for value, _ in self.values])

    def _fits(self, dataset: Dataset) -> None:
        kind = dataset.schema.field(self.column).type
        if len({str(value) for value, _ in self.values}) < len(self.values):
            raise InvalidPlanError("a value is declared twice")
        try:
            type_of([self._declared()], dataset.schema)
        except ExpressionError as error:
            raise InvalidPlanError(
                f"the declared values do not fit {self.column!r} of type {kind}: {error.message}",
                hint="write them as the column holds them",
            ) from None

    def _types(self, dataset: Dataset) -> list[tuple[str, str, pa.DataType]]:
        try:
            return relation_types(self.sql(["input"], [dataset]), {"input": dataset.schema})
        except ExpressionError as error:
            raise InvalidPlanError(f"{self.take} of {self.value!r}: {error.message}", hint="take: one") from None


def _constant(value: Value) -> exp.Expr:
    from sqlglot import exp

    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int | Decimal):
        return exp.Literal.number(format(value, "f") if isinstance(value, Decimal) else value)
    return exp.Literal.string(value.isoformat() if isinstance(value, date) else value)


operator = Pivot
