"""Put rows in an order, and keep the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from tongqu.core.data import Dataset
from tongqu.core.operator import Lineage, Operator
from tongqu.core.settings import Names, titled
from tongqu.meaning.ordering import order_sql, terms
from tongqu.meaning.sandbox import quoted, relation_names


class Sort(Operator):
    """Put rows in an order: `sort: [line_id, -ts]`; a minus runs from the greatest to the least.

    ```yaml
    - sort: {by: [-weight, lot_no], limit: 10, nulls: last}
    ```

    Text is ordered by code point (binary collation), whatever the databases do; NaN is the greatest number; nulls stand
    last unless `nulls: first` says so. Rows that are equal in all terms keep the order in which they came. With `limit`
    only the first rows stay, the others count as filtered. Tables keep no order: sorting matters for files, for `limit`
    and for whatever numbers rows after it.
    """

    verb = "sort"
    title: ClassVar[Mapping[str, str]] = {"zh": "排序", "en": "Sort"}
    row_wise = False
    missing_rows = "filtered"

    by: Names = titled("排序字段", "Order", min_length=1)
    """Columns in order of weight, each with a minus if it runs down."""
    limit: int | None = titled("行数上限", "Limit", None, ge=0)
    """Keep this many rows."""
    nulls: Literal["first", "last"] = titled("空值位置", "Nulls", "last")
    """Where nulls stand."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Sort:
        return cls.parse({"by": raw}, path) if not isinstance(raw, Mapping) else super().from_yaml(raw, path)

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = super().yaml_schema()
        return {"description": schema["description"], "anyOf": [schema, *schema["properties"]["by"]["anyOf"]]}

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        terms(self.by, inputs[0])
        return inputs[0]

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, column) for column, _ in terms(self.by, inputs[0])}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        (dataset,) = inputs
        names = relation_names(dataset.columns)
        order = ", ".join(order_sql(terms(self.by, dataset), names, self.nulls))
        limit = f" LIMIT {self.limit}" if self.limit is not None else ""
        return (
            f"SELECT {', '.join(quoted(name) for name in names.values())} "
            f"FROM (SELECT *, row_number() OVER () AS _tongqu_row FROM {relations[0]}) "
            f"ORDER BY {order}, _tongqu_row{limit}"
        )


operator = Sort
