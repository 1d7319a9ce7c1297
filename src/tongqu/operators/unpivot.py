"""Turn columns into rows: one row for each of several columns, with its name and its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pyarrow as pa

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.operator import Expansion, Lineage, Operator
from tongqu.core.settings import Pairs, titled
from tongqu.meaning.joint import joint, sql_type
from tongqu.meaning.sandbox import quoted, relation_names


class Unpivot(Operator):
    """Turn columns into rows: `unpivot: {columns: [jan, feb], name: month, value: qty}`.

    ```yaml
    - unpivot: {columns: {qty_01: "2026-01", qty_02: "2026-02"}, name: month, value: qty, nulls: drop}
    ```

    Each row comes once for each of the columns, in their order, with the column's name (or the label it is given) in
    `name` and its value in `value`; all other columns are repeated. Numbers are widened so that every value stays
    exact; other types, and units, must be the same. The key becomes the old one and `name`. With `nulls: drop` a null
    value makes no row, and a row that makes none counts as filtered; over changes (`mode: incremental`) that is refused
    unless the sink appends, since a value that became null would leave its row behind.
    """

    verb = "unpivot"
    title: ClassVar[Mapping[str, str]] = {"zh": "列转行", "en": "Unpivot"}

    columns: Pairs = titled("字段与标签", "Columns", min_length=1)
    """Columns that become rows, with the label of each."""
    name: str = titled("名称字段", "Name column", "name")
    """The column that tells which column a row came from."""
    value: str = titled("值字段", "Value column", "value")
    """The column with its value."""
    nulls: Literal["keep", "drop"] = titled("空值", "Nulls", "keep")
    """Whether null values make rows."""

    @property
    def leaves_rows(self) -> bool:
        return self.nulls == "drop"

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, list(self.columns))
        kept = [field for field in dataset.schema if field.name not in self.columns]
        nullable = self.nulls == "keep" and any(dataset.schema.field(c).nullable for c in self.columns)
        value = joint(self.value, [dataset.schema.field(c) for c in self.columns]).with_nullable(nullable)
        fields = [*kept, pa.field(self.name, pa.string(), nullable=False), value]
        no_duplicates([field.name for field in fields], self.verb)
        made = reshaped(dataset, fields, {field.name: field.name for field in kept})
        return made.bound(made.name, (*made.key, self.name) if made.key else ())

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns if c not in self.columns}
        return made | {self.name: set(), self.value: {(0, c) for c in self.columns}}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns if c not in self.columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in self.columns}

    def expansion(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion:
        (dataset,) = inputs
        output = self.output(inputs)
        names, out = relation_names(dataset.columns), relation_names(output.columns)
        kind = output.schema.field(self.value).type
        values = [
            quoted(names[c])
            if dataset.schema.field(c).type == kind
            else f"CAST({quoted(names[c])} AS {sql_type(kind)})"
            for c in self.columns
        ]
        labels = ["'" + label.replace("'", "''") + "'" for label in self.columns.values()]
        name, value = quoted(out[self.name]), quoted(out[self.value])
        items = [f"{quoted(names[c])} AS {quoted(out[c])}" for c in dataset.columns if c not in self.columns]
        items += [f"unnest([{', '.join(labels)}]) AS {name}", f"unnest([{', '.join(values)}]) AS {value}"]
        places = ", ".join(str(n) for n in range(len(values)))
        items += ["_tongqu_row", "0 AS _tongqu_fault", f"unnest([{places}]) AS _tongqu_place"]
        where = f" WHERE {value} IS NOT NULL" if self.nulls == "drop" else ""
        return Expansion(f"SELECT * FROM (SELECT {', '.join(items)} FROM {relations[0]}){where}", order="_tongqu_place")


operator = Unpivot
