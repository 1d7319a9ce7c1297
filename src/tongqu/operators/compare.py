"""Compare two inputs by key: what is new, changed, deleted or the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.columns import need_columns, no_duplicates
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Lineage, Operator
from tongqu.core.settings import Names, titled
from tongqu.meaning.joint import joint, sql_type
from tongqu.meaning.sandbox import only_one, quoted, relation_names

CHANGES = ("new", "changed", "deleted", "same")


class Compare(Operator):
    """Compare two inputs by key; each row of both comes out once, marked `new`, `changed`, `deleted` or `same`.

    ```yaml
    - compare: {old: yesterday, new: today, key: [lot_no], columns: [weight, plant], before: old_}
    ```

    Both inputs have the same columns, or `columns` names the ones that are compared; the output has the key, the
    columns of `new` and the mark. A deleted row carries its old values. With `before` the old values of compared
    columns come too, under that prefix. Values are compared by what they are (1.5 equals 1.50, nulls equal each other,
    text by code point); numbers of different width are widened exactly, other differences of type are refused. A key
    that comes twice in one input stops the run (data.duplicate). How many rows have each mark stands in the run's
    numbers of the step.
    """

    verb = "compare"
    title: ClassVar[Mapping[str, str]] = {"zh": "比较", "en": "Compare"}
    row_wise = False
    arity = (2, 2)

    old: str = titled("旧输入", "Old input")
    """The source or step with the rows as they were."""
    new: str = titled("新输入", "New input")
    """The source or step with the rows as they are."""
    key: Names = titled("键", "Key", min_length=1)
    """Columns of both that identify a row."""
    columns: tuple[str, ...] = titled("比较字段", "Compared columns", ())
    """What is compared; by default all columns that are not in the key."""
    mark: str = titled("标记字段", "Mark", "_change")
    """The column with the mark."""
    before: str | None = titled("旧值前缀", "Prefix of old values", None)
    """Give the old values of compared columns too, with this prefix."""

    @property
    def input_names(self) -> tuple[str, ...]:
        return (self.old, self.new)

    @property
    def told(self) -> str:
        return self.mark

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        _, new = inputs
        compared = self._compared(inputs)
        made = {c: self._joint(c, inputs) for c in (*self.key, *compared)}
        fields: list[pa.Field[Any]] = [made.get(c, new.schema.field(c).with_nullable(True)) for c in new.columns]
        if self.before is not None:
            fields += [made[c].with_name(self.before + c).with_nullable(True) for c in compared]
        fields.append(pa.field(self.mark, pa.string(), nullable=False))
        no_duplicates([field.name for field in fields], self.verb)
        return Dataset(new.name, pa.schema(fields), key=self.key)

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        old, new = inputs
        compared = self._compared(inputs)
        made: Lineage = {c: {(n, c) for n, d in ((0, old), (1, new)) if c in d.columns} for c in new.columns}
        if self.before is not None:
            made |= {self.before + c: {(0, c)} for c in compared}
        return made | {self.mark: {(n, c) for n in (0, 1) for c in (*self.key, *compared)}}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(n, c) for n in (0, 1) for c in (*self.key, *self._compared(inputs))}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        old, new = inputs
        out = relation_names(self.output(inputs).columns)
        mine, theirs = relation_names(old.columns), relation_names(new.columns)
        compared = self._compared(inputs)

        def typed(side: str, column: str) -> str:
            value = f"{side}.{quoted((mine if side == 'o' else theirs)[column])}"
            if column not in (*self.key, *compared):
                return value
            own = (old if side == "o" else new).schema.field(column).type
            kind = self._joint(column, inputs).type
            return value if own == kind else f"CAST({value} AS {sql_type(kind)})"

        there = "_tongqu_here IS NOT NULL"
        items = []
        for c in new.columns:
            value = f"n.{quoted(theirs[c])}" if c not in old.columns else typed("n", c)
            if c in old.columns and (c in (*self.key, *compared) or self._same_type(c, inputs)):
                value = f"CASE WHEN n.{there} THEN {value} ELSE {typed('o', c)} END"
            items.append(f"{value} AS {quoted(out[c])}")
        if self.before is not None:
            items += [f"{typed('o', c)} AS {quoted(out[self.before + c])}" for c in compared]
        differs = " OR ".join(f"{typed('o', c)} IS DISTINCT FROM {typed('n', c)}" for c in compared) or "false"
        mark = (
            f"CASE WHEN NOT coalesce(o.{there}, false) THEN 'new' WHEN NOT coalesce(n.{there}, false) THEN 'deleted' "
            f"WHEN {differs} THEN 'changed' ELSE 'same' END"
        )
        items.append(f"{mark} AS {quoted(out[self.mark])}")
        match = " AND ".join(f"{typed('o', c)} IS NOT DISTINCT FROM {typed('n', c)}" for c in self.key)
        sides = [self._once(r, d, name) for r, d, name in zip(relations, inputs, (self.old, self.new), strict=True)]
        return f"SELECT {', '.join(items)} FROM ({sides[0]}) AS o FULL JOIN ({sides[1]}) AS n ON {match}"

    def _once(self, relation: str, dataset: Dataset, name: str) -> str:
        """The input with a column that is there for each row, and that fails if a key comes twice."""
        names = relation_names(dataset.columns)
        keys = [quoted(names[c]) for c in self.key]
        value = keys[0] if len(keys) == 1 else "concat_ws(', ', " + ", ".join(f"{k}::VARCHAR" for k in keys) + ")"
        check = only_one("_tongqu_many > 1", f"in {name!r} the key {', '.join(self.key)} =", value)
        counted = f"SELECT *, count(*) OVER (PARTITION BY {', '.join(keys)}) AS _tongqu_many FROM {relation}"
        return f"SELECT *, {check} AS _tongqu_here FROM ({counted})"

    def _compared(self, inputs: Sequence[Dataset]) -> tuple[str, ...]:
        old, new = inputs
        for dataset in inputs:
            need_columns(dataset, [*self.key, *self.columns])
        if self.columns:
            return tuple(c for c in self.columns if c not in self.key)
        extra = [*(c for c in new.columns if c not in old.columns), *(c for c in old.columns if c not in new.columns)]
        if extra:
            raise InvalidPlanError(
                f"{extra[0]!r} is a column of only one of {self.old!r} and {self.new!r}",
                hint="name what is compared with `columns: [...]`, or select the same columns before",
            )
        return tuple(c for c in new.columns if c not in self.key)

    def _joint(self, column: str, inputs: Sequence[Dataset]) -> pa.Field[Any]:
        fields = [dataset.schema.field(column) for dataset in inputs]
        nullable = column not in self.key or any(field.nullable for field in fields)
        return joint(column, fields).with_nullable(nullable)

    def _same_type(self, column: str, inputs: Sequence[Dataset]) -> bool:
        return bool(inputs[0].schema.field(column).type == inputs[1].schema.field(column).type)


operator = Compare
