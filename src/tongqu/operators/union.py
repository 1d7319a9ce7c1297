"""Put the rows of several inputs one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa

from tongqu.core.columns import no_duplicates
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Lineage, Operator
from tongqu.core.settings import titled
from tongqu.meaning.joint import joint, sql_type
from tongqu.meaning.sandbox import quoted, relation_names


class Union(Operator):
    """Put the rows of several inputs one after the other: `union: [plant_a, plant_b]`.

    ```yaml
    - id: all_plants
      union: {inputs: [plant_a, plant_b], by: name, distinct: false, mark: plant}
    ```

    By name, a column that an input lacks is null there; by position, the names are the first input's and all inputs
    have as many columns. Numbers are widened so that every value stays exact; other types, and units, must be the same
    (cast or convert before). Rows keep the order of the inputs and their own. `distinct` keeps one of rows that are
    equal in every column (nulls equal each other), counted as deduplicated; which inputs gave them is then not told,
    so `mark` and `distinct` exclude each other. Without `distinct` it works over changes too.
    """

    verb = "union"
    title: ClassVar[Mapping[str, str]] = {"zh": "合并", "en": "Union"}
    row_wise = False
    arity = (2, 64)
    missing_rows = "deduplicated"

    inputs: tuple[str, ...] = titled("输入", "Inputs", min_length=2, max_length=64)
    """Names of the sources or steps, in order."""
    by: Literal["name", "position"] = titled("对齐方式", "Match columns by", "name")
    """How columns are brought together."""
    distinct: bool = titled("去除重复", "Distinct", False)
    """Keep one of equal rows."""
    mark: str | None = titled("来源字段", "Mark", None)
    """A column that tells the name of the input each row came from."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Union:
        if isinstance(raw, Sequence) and not isinstance(raw, str):
            return cls.parse({"inputs": raw}, path)
        return super().from_yaml(raw, path)

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = super().yaml_schema()
        return {"description": schema["description"], "anyOf": [schema, schema["properties"]["inputs"]]}

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.inputs

    def needs_all(self, number: int) -> bool:
        return self.distinct

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        if self.mark and self.distinct:
            raise InvalidPlanError(
                "`mark` tells rows apart that `distinct` takes for the same", hint="drop one of them"
            )
        fields: list[pa.Field[Any]] = []
        for name, columns in self._columns(inputs).items():
            given = [d.schema.field(c) for d, c in zip(inputs, columns, strict=True) if c is not None]
            field = joint(name, given)
            everywhere = len(given) == len(inputs) and not any(f.nullable for f in given)
            fields.append(field.with_nullable(not everywhere))
        if self.mark:
            fields.append(pa.field(self.mark, pa.string()))
        no_duplicates([field.name for field in fields], self.verb)
        keys = {dataset.key for dataset in inputs}
        return Dataset(inputs[0].name, pa.schema(fields), key=self._key(keys.pop()) if len(keys) == 1 else ())

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {
            name: {(n, c) for n, c in enumerate(columns) if c is not None}
            for name, columns in self._columns(inputs).items()
        }
        return made | ({self.mark: set()} if self.mark else {})

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(n, c) for n, d in enumerate(inputs) for c in d.columns} if self.distinct else set()

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        output = self.output(inputs)
        out = relation_names(output.columns)
        columns = self._columns(inputs)
        selects = []
        for number, (relation, dataset) in enumerate(zip(relations, inputs, strict=True)):
            names = relation_names(dataset.columns)
            items = []
            for name, per_input in columns.items():
                own, kind = per_input[number], output.schema.field(name).type
                value = "NULL" if own is None else quoted(names[own])
                if own is not None and dataset.schema.field(own).type != kind:
                    value = f"CAST({value} AS {sql_type(kind)})"
                items.append(f"{value} AS {quoted(out[name])}")
            if self.mark:
                text = self.inputs[number].replace("'", "''")
                items.append(f"'{text}' AS {quoted(out[self.mark])}")
            selects.append(f"SELECT {', '.join(items)} FROM {relation}")
        query = " UNION ALL ".join(selects)
        return f"SELECT DISTINCT * FROM ({query})" if self.distinct else query

    def _columns(self, inputs: Sequence[Dataset]) -> dict[str, list[str | None]]:
        """For each output column the column of each input."""
        if self.by == "position":
            first = inputs[0]
            for name, dataset in zip(self.inputs, inputs, strict=True):
                if len(dataset.columns) != len(first.columns):
                    raise InvalidPlanError(
                        f"{name!r} has {len(dataset.columns)} columns, {self.inputs[0]!r} has {len(first.columns)}",
                        hint="select the same number of columns before, or match them by name",
                    )
            return {name: [d.columns[n] for d in inputs] for n, name in enumerate(first.columns)}
        names = dict.fromkeys(name for dataset in inputs for name in dataset.columns)
        return {name: [name if name in d.columns else None for d in inputs] for name in names}

    def _key(self, key: tuple[str, ...]) -> tuple[str, ...]:
        """The same key may come from several inputs, unless rows are marked."""
        return (*key, self.mark) if key and self.mark else ()


operator = Union
