"""Keep one row of each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from tongqu.core.columns import need_columns
from tongqu.core.data import Dataset
from tongqu.core.operator import Lineage, Operator
from tongqu.core.settings import titled
from tongqu.meaning.event_time import Expiry, need_instants
from tongqu.meaning.sandbox import quoted, relation_names


class Deduplicate(Operator):
    """Keep one row of each key: `deduplicate: {by: [k], keep: last, order: ts}`, or `deduplicate: [k]`.

    With `order` the row with the least (`first`) or greatest (`last`) value stays, nulls only if there is nothing else;
    ties and rows without `order` are decided by the order in which rows come in. Nulls in the key equal each other.
    While a log is followed the keys are kept, until `expire: {on: ts, after: 7d}` if that is given.
    """

    verb = "deduplicate"
    title: ClassVar[Mapping[str, str]] = {"zh": "去重", "en": "Deduplicate"}
    row_wise = False
    missing_rows = "deduplicated"

    by: tuple[str, ...] = titled("键", "Key columns", min_length=1)
    """Columns that identify a row."""
    keep: Literal["first", "last"] = titled("保留", "Keep", "first")
    """Which row of a key stays."""
    order: str | None = titled("排序字段", "Order column", None)
    """Column that decides; without it the order of arrival."""
    expire: Expiry | None = titled("过期", "Expire", None)
    """When keys are forgotten while a log is followed."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Deduplicate:
        if isinstance(raw, str):
            return cls.parse({"by": [raw]}, path)
        if isinstance(raw, Sequence) and not isinstance(raw, Mapping):
            return cls.parse({"by": raw}, path)
        return super().from_yaml(raw, path)

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [*self.by, *([self.order] if self.order else [])])
        if self.expire:
            need_instants(dataset, self.expire.on)
        return replace(dataset, key=self.by)

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in (*self.by, *([self.order] if self.order else []))}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        names = relation_names(inputs[0].columns)
        columns = ", ".join(quoted(names[c]) for c in inputs[0].columns)
        by = ", ".join(quoted(names[c]) for c in self.by)
        way = "DESC" if self.keep == "last" else "ASC"
        order = f"{quoted(names[self.order])} {way} NULLS LAST, " if self.order else ""
        return (
            f"SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY {by} ORDER BY {order}_tongqu_row {way}) "
            f"AS _tongqu_rank FROM (SELECT *, row_number() OVER () AS _tongqu_row FROM {relations[0]})) "
            "WHERE _tongqu_rank = 1"
        )


operator = Deduplicate
