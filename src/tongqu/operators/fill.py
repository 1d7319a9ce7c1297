"""Put values where they are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ValidationError, model_validator

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError, InvalidSettingsError
from tongqu.core.operator import Lineage, Operator, Place, Projection
from tongqu.core.settings import Settings, invalid_settings, titled
from tongqu.meaning.cleaning import parsed as parsed_sql
from tongqu.meaning.expressions import Typed, cast, column, literal, parsed, render, rounded, type_of, typed
from tongqu.meaning.sandbox import ROW_COLUMN, quoted, relation_names
from tongqu.meaning.surveys import PREFIX, own_columns, surveyed

if TYPE_CHECKING:
    from sqlglot import exp

Constant = bool | int | Decimal | date | datetime | str


class Filling(Settings):
    """What a missing value becomes; exactly one of `value`, `expression` and `method`."""

    value: Constant | None = titled("常量", "Constant", None)
    """The same for all rows."""
    expression: str | None = titled("表达式", "Expression", None)
    """Computed from the row."""
    method: Literal["last", "mean", "median"] | None = titled("方法", "Method", None)
    """`last`: the last value before it in `order`; `mean`, `median`: of all values. Each within its group (`by`)."""
    by: tuple[str, ...] = titled("分组", "By", ())
    """Columns that make the groups."""
    order: tuple[str, ...] = titled("顺序", "Order", ())
    """Columns that order the rows for `last`, nulls first; rows equal in all of them stand as they came."""
    blank: bool = titled("空白视为缺失", "Blank is missing", False)
    """Text that is empty or only spaces is missing too."""

    @model_validator(mode="after")
    def _one_way(self) -> Filling:
        if sum(given is not None for given in (self.value, self.expression, self.method)) != 1:
            raise ValueError("give one of `value`, `expression` and `method`")
        if (self.method == "last") != bool(self.order):
            raise ValueError("`method: last` needs `order`, and only it")
        if self.by and self.method is None:
            raise ValueError("`by` goes with `method`")
        return self


class Fill(Operator):
    """Fill missing values: `fill: {qty: 0, note: "", total: {expression: "qty * price"}, weight: {method: median, by:
    [item]}, status: {method: last, order: [at], by: [line]}}`.

    A value is missing when it is null (or blank text, with `blank: true`). All columns are computed from the row as it
    came in. Where there is nothing to fill with (no earlier value, an empty group, a null expression) it stays missing.
    Means and medians are given in the column's type, rounded half away from zero. `method` needs all rows, so it is
    refused over incremental reads.
    """

    verb = "fill"
    title: ClassVar[Mapping[str, str]] = {"zh": "填补缺失值", "en": "Fill missing values"}
    wraps = "columns"

    columns: dict[str, Filling] = titled("字段与填补", "Column and filling", min_length=1)
    """Each column with what its missing values become; a plain value is a constant."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Fill:
        if not isinstance(raw, Mapping) or not raw:
            raise InvalidSettingsError(
                f"fill takes columns with values (got {raw!r})", path=path, hint="fill: {qty: 0}"
            )
        made: dict[str, Filling] = {}
        for name, value in raw.items():
            entry = value if isinstance(value, Mapping) else {"value": value}
            try:
                made[str(name)] = Filling.model_validate(dict(entry))
            except ValidationError as error:
                raise invalid_settings(Filling, error, f"{path}.{name}") from None
        return cls(columns=made)

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = cls.model_json_schema()
        plain = {"type": ["string", "number", "boolean"]}
        entry = {"anyOf": [plain, {"$ref": "#/$defs/Filling"}]}
        return {
            "type": "object",
            "description": schema["description"],
            "additionalProperties": entry,
            "$defs": schema["$defs"],
        }

    @property
    def chunk_safe(self) -> bool:
        return all(entry.method is None for entry in self.columns.values())

    def bound(self, surroundings: Place) -> Fill:
        for entry in self.columns.values():
            if entry.expression is not None:
                parsed(entry.expression)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [name for _, name in sorted(self.reads(inputs))])
        seen = surveyed(dataset, self.surveys(dataset))
        for name, entry in self.columns.items():
            kind = dataset.schema.field(name).type
            number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            if entry.method in ("mean", "median") and not number:
                raise InvalidPlanError(f"{name!r} is {kind}: it has no {entry.method}", hint="use `method: last`")
            if entry.blank and not _is_text(kind):
                raise InvalidPlanError(f"{name!r} is {kind}: only text can be blank", hint="drop `blank`")
            self._filler(name, entry, seen)
        return reshaped(dataset, list(dataset.schema), {c: c for c in dataset.columns if c not in self.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        for name, entry in self.columns.items():
            made[name] |= {(0, c) for c in (*entry.by, *entry.order, *self._columns_of(entry, inputs[0]))}
        return made

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        found = {(0, name) for name in self.columns}
        for entry in self.columns.values():
            found |= {(0, c) for c in (*entry.by, *entry.order, *self._columns_of(entry, inputs[0]))}
        return found

    def projection(self, dataset: Dataset) -> Projection | None:
        from sqlglot import exp

        trees = {c: column(c) for c in own_columns(dataset)}
        for name, entry in self.columns.items():
            filler = self._filler(name, entry, dataset)
            trees[name] = exp.Coalesce(this=self._present(name, entry), expressions=[filler])
        return Projection(trees)

    def surveys(self, dataset: Dataset) -> Sequence[Mapping[str, str]]:
        need_columns(dataset, [c for e in self.columns.values() for c in (*e.by, *e.order)])
        names = relation_names(dataset.columns)
        found: dict[str, str] = {}
        for number, (name, entry) in enumerate(self.columns.items()):
            if entry.method is None:
                continue
            value = render(self._present(name, entry), names)
            by = ", ".join(quoted(names[c]) for c in entry.by)
            group = f"PARTITION BY {by} " if by else ""
            if entry.method == "last":
                order = ", ".join([*(f"{quoted(names[c])} NULLS FIRST" for c in entry.order), quoted(ROW_COLUMN)])
                frame = f"ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
                found[f"{PREFIX}fill{number}"] = f"last_value({value} IGNORE NULLS) OVER ({group}{frame})"
            else:
                function = {"mean": "avg", "median": "median"}[entry.method]
                found[f"{PREFIX}fill{number}"] = f"{function}({value}) OVER ({group})"
        return [found] if found else []

    def _present(self, name: str, entry: Filling) -> exp.Expr:
        """The value, or null where it is missing."""
        from sqlglot import exp

        if not entry.blank:
            return column(name)
        trimmed = exp.RegexpReplace(this=column(name), expression=literal(r"^[\s\x{3000}]+$"), replacement=literal(""))
        return exp.Case().when(exp.NEQ(this=trimmed, expression=literal("")), column(name), copy=False)

    def _filler(self, name: str, entry: Filling, dataset: Dataset) -> exp.Expr:
        kind = _duckdb_type(name, dataset)
        if entry.method is not None:
            found = column(f"{PREFIX}fill{list(self.columns).index(name)}")
            return found if entry.method == "last" else parsed_sql(rounded(quoted(found.name), kind))
        if entry.expression is not None:
            made = self._typed(entry.expression, dataset)
            return made.tree if made.duckdb_type == kind else cast(made.tree, kind, trying=True)
        assert entry.value is not None  # noqa: S101
        value = entry.value if isinstance(entry.value, bool | int | str) else str(entry.value)
        tree = cast(literal(value), kind)
        try:
            type_of([tree], dataset.schema)
        except ExpressionError:
            raise InvalidPlanError(f"{entry.value!r} is no {kind}, which {name!r} is") from None
        return tree

    def _typed(self, text: str, dataset: Dataset) -> Typed:
        plain = pa.schema([dataset.schema.field(c) for c in own_columns(dataset)])
        return typed(text, plain)

    def _columns_of(self, entry: Filling, dataset: Dataset) -> tuple[str, ...]:
        return self._typed(entry.expression, dataset).columns if entry.expression is not None else ()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _duckdb_type(name: str, dataset: Dataset) -> str:
    ((kind, _),) = type_of([column(name)], dataset.schema)
    return kind


operator = Fill
