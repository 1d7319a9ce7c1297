"""Compute over rows that belong together, without merging them: ranks, running sums, the row before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa

from tongqu.core.columns import need_columns, no_duplicates
from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError
from tongqu.core.operator import Lineage, Operator, Place
from tongqu.core.settings import Names, Settings, titled
from tongqu.meaning.expressions import arrow_type, parsed, relation_types, render, typed
from tongqu.meaning.fields import recast
from tongqu.meaning.ordering import order_sql, terms
from tongqu.meaning.sandbox import only_one, quoted, relation_names

_FUNCTIONS: Mapping[str, tuple[int, int, bool]] = {
    "row_number": (0, 0, True), "rank": (0, 0, False), "dense_rank": (0, 0, False), "percent_rank": (0, 0, False),
    "cume_dist": (0, 0, False), "ntile": (1, 1, True), "lag": (1, 3, True), "lead": (1, 3, True),
    "first_value": (1, 1, True), "last_value": (1, 1, True), "nth_value": (2, 2, True),
}  # fmt: skip
"""Window functions: least and most arguments, and whether ties of the order would make them a matter of chance."""
_CALL = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_COPIES = ("lag", "lead", "first_value", "last_value", "nth_value")


class Rows(Settings):
    """How far a frame reaches around the row."""

    before: int | Literal["all"] = titled("之前行数", "Before", "all")
    """Rows before it."""
    after: int | Literal["all"] = titled("之后行数", "After", 0)
    """Rows after it."""


class _Call:
    """One column's function, checked over a dataset: its SQL, the columns it reads and which one it copies."""

    def __init__(self, text: str, dataset: Dataset):
        self.text = text
        names = relation_names(dataset.columns)
        name, arguments = _taken(text)
        self.known = _FUNCTIONS.get(name)
        if self.known is None:
            from sqlglot import exp

            made = typed(text, dataset.schema, aggregate=True)
            if not isinstance(made.tree, exp.AggFunc):
                raise ExpressionError(f"{text!r} is not one aggregate", hint="compute with its result in a derive step")
            self.sql, self.columns, self.copy = render(made.tree, names), made.columns, ""
            return
        found = [typed(argument, dataset.schema) for argument in arguments]
        self.sql = f"{name}({', '.join(render(argument.tree, names) for argument in found)})"
        self.columns = tuple(dict.fromkeys(c for argument in found for c in argument.columns))
        self.copy = arguments[0] if name in _COPIES and arguments[0] in dataset.columns and len(arguments) < 3 else ""


class Window(Operator):
    """Compute over the rows of a group without merging them:
    `window: {by: [line], order: [ts], columns: {before: "lag(v)"}}`.

    ```yaml
    - window:
        by: [line_id]
        order: [ts, id]
        columns: {no: "row_number()", previous: "lag(weight)", mean7: "avg(weight)"}
        rows: {before: 6, after: 0}
    ```

    Each column is one call: `row_number rank dense_rank percent_rank cume_dist ntile(n) lag(x[, n[, default]]) lead(…)
    first_value(x) last_value(x) nth_value(x, n)`, or an aggregate as in `aggregate`; compute with results in a `derive`
    step. With `order` aggregates and `…_value` run up to the row (rows that are equal in the order count together),
    without it they see the whole group; `rows` gives them a frame of rows instead. Order is by code point, NaN
    greatest, nulls last; nulls in `by` form a group.

    What depends on which of two equal rows comes first is refused: `row_number`, `ntile`, `lag`, `lead`, `…_value` and
    any `rows` need an order that tells all rows of a group apart, that is `by` and `order` together hold the dataset's
    key or a unique index. Where the dataset has none, `unique: true` says that they do, and is checked while running:
    two equal rows stop the run (data.duplicate).
    """

    verb = "window"
    title: ClassVar[Mapping[str, str]] = {"zh": "窗口计算", "en": "Window"}
    row_wise = False

    by: Names = titled("分组字段", "Group by", ())
    """Columns that make a group."""
    order: Names = titled("排序字段", "Order", ())
    """Columns that order the rows of a group, each with a minus if it runs down."""
    columns: dict[str, str] = titled("字段与函数", "Column and function", min_length=1)
    """New columns with their functions."""
    rows: Rows | None = titled("窗口范围", "Rows", None)
    """How many rows around the row count."""
    unique: bool = titled("顺序唯一", "Unique", False)
    """`by` and `order` tell all rows apart; checked while running."""

    def bound(self, surroundings: Place) -> Window:
        for text in self.columns.values():
            if _taken(text)[0] not in _FUNCTIONS:
                parsed(text, aggregate=True)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, self.by)
        terms(self.order, dataset)
        no_duplicates([*dataset.columns, *self.columns], self.verb)
        calls = self._calls(dataset)
        self._ordered(calls, dataset)
        types = relation_types(self.sql(["input"], inputs), {"input": dataset.schema})
        fields: list[pa.Field[Any]] = list(dataset.schema)
        for (name, call), (_, kind, arrow) in zip(calls.items(), types[len(dataset.columns) :], strict=True):
            found, logical = arrow_type(kind, arrow)
            old = dataset.schema.field(call.copy) if call.copy else None
            if old is not None and old.type == found:
                fields.append(old.with_name(name).with_nullable(True))
            else:
                fields.append(recast(pa.field(name, found), found, logical))
        made = dataset.bound(dataset.name, dataset.key)
        return Dataset(made.name, pa.schema(fields), key=made.key, cursor=made.cursor, indexes=made.indexes)

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        group = {(0, c) for c in self._group(inputs[0])}
        return made | {n: {(0, c) for c in call.columns} or group for n, call in self._calls(inputs[0]).items()}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        read = {c for call in self._calls(inputs[0]).values() for c in call.columns}
        return {(0, c) for c in {*self._group(inputs[0]), *read}}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        (dataset,) = inputs
        names = relation_names(dataset.columns)
        out = relation_names([*dataset.columns, *self.columns])
        by = f"PARTITION BY {', '.join(quoted(names[c]) for c in self.by)}" if self.by else ""
        order = order_sql(terms(self.order, dataset), names)
        ordered = f"ORDER BY {', '.join(order)}" if order else ""
        items = [f"{quoted(names[c])} AS {quoted(out[c])}" for c in dataset.columns]
        for name, call in self._calls(dataset).items():
            frame = self._frame() if call.known is None or call.sql.startswith(("first_", "last_", "nth_")) else ""
            items.append(f"{call.sql} OVER ({by} {ordered} {frame}) AS {quoted(out[name])}")
        source = relations[0]
        if self.unique:
            group = [quoted(names[c]) for c in self._group(dataset)]
            many = f"SELECT *, count(*) OVER (PARTITION BY {', '.join(group)}) AS _tongqu_many FROM {source}"
            value = "concat_ws(', ', " + ", ".join(f"{column}::VARCHAR" for column in group) + ")"
            once = only_one("_tongqu_many > 1", f"{', '.join(self._group(dataset))} =", value)
            source = f"({many}) WHERE {once} = 0"
        return f"SELECT {', '.join(items)} FROM {source}"

    def _frame(self) -> str:
        if self.rows is None:
            return ""
        before = "UNBOUNDED" if self.rows.before == "all" else str(self.rows.before)
        after = "UNBOUNDED" if self.rows.after == "all" else str(self.rows.after)
        return f"ROWS BETWEEN {before} PRECEDING AND {after} FOLLOWING"

    def _group(self, dataset: Dataset) -> list[str]:
        return list(dict.fromkeys([*self.by, *(column for column, _ in terms(self.order, dataset))]))

    def _calls(self, dataset: Dataset) -> dict[str, _Call]:
        made = {}
        for name, text in self.columns.items():
            try:
                made[name] = _Call(text, dataset)
            except ExpressionError as error:
                raise ExpressionError(f"{name}: {error.message}", hint=error.hint, params=error.params) from None
        return made

    def _ordered(self, calls: Mapping[str, _Call], dataset: Dataset) -> None:
        """Refuse what would be a matter of chance."""
        group = set(self._group(dataset))
        keys = [dataset.key, *(index.columns for index in dataset.indexes if index.unique)]
        total = self.unique or any(key and set(key) <= group for key in keys)
        if self.unique and not group:
            raise InvalidPlanError("`unique` needs `by` or `order`")
        for name, call in calls.items():
            if call.known is not None and not self.order:
                raise InvalidPlanError(f"{name}: {call.text} needs an order", hint="add `order: [...]`")
            if not total and (self.rows is not None if call.known is None else call.known[2]):
                key = f"the key is {', '.join(dataset.key)}" if dataset.key else "the dataset has no key"
                raise InvalidPlanError(
                    f"{name}: {call.text} is a matter of chance where rows are equal in "
                    f"{', '.join(self._group(dataset)) or 'nothing'} ({key})",
                    hint="add the key to `order`, or `unique: true` if the order tells all rows apart",
                )


def _taken(text: str) -> tuple[str, list[str]]:
    """The name of a call and the texts of its arguments; for a window function they are as many as it takes."""
    import sqlglot
    from sqlglot import exp

    found = _CALL.fullmatch(text)
    name = found.group(1).lower() if found else ""
    if found is None or name not in _FUNCTIONS:
        return "", []
    try:
        call = sqlglot.parse_one(f"tongqu_call({found.group(2)})", read="duckdb")
    except sqlglot.errors.SqlglotError:
        call = None
    least, most, _ = _FUNCTIONS[name]
    if not isinstance(call, exp.Anonymous) or not least <= len(call.expressions) <= most:
        takes = str(least) if least == most else f"{least} to {most}"
        raise ExpressionError(f"{text!r}: {name} takes {takes} arguments")
    return name, [_plain(argument) for argument in call.expressions]


def _plain(argument: Any) -> str:
    from sqlglot import exp

    if isinstance(argument, exp.Column) and not argument.table:
        return str(argument.name) if not argument.this.args.get("quoted") else str(argument.sql("duckdb"))
    return str(argument.sql("duckdb"))


operator = Window
