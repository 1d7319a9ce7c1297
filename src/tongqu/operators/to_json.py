"""Put columns into one JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset, Meta
from tongqu.core.operator import Lineage, Operator, Projection
from tongqu.core.settings import Pairs, titled
from tongqu.meaning.expressions import column
from tongqu.meaning.fields import metadata
from tongqu.meaning.joint import strictest
from tongqu.meaning.sandbox import quoted

if TYPE_CHECKING:
    from sqlglot import exp


class ToJson(Operator):
    """Put columns into one JSON object a row: `to_json: {into: payload, columns: [lot_no, weight]}`.

    ```yaml
    - to_json: {into: payload, columns: {lotNo: lot_no, weight: weight}, nulls: drop, keep: false}
    ```

    Without `columns` all columns go in. Keys keep the order given. Numbers stand exactly as they are (decimals with
    their zeros); NaN and infinities, which JSON lacks, as texts `"NaN"`, `"Infinity"`, `"-Infinity"`; dates, times and
    instants as ISO 8601 texts (instants in UTC); bytes in Base64; a column that holds JSON is put in as it is; lists
    and structs become arrays and objects. The columns leave the row unless `keep: true`. The text has the strictest
    class of its columns.
    """

    verb = "to_json"
    title: ClassVar[Mapping[str, str]] = {"zh": "生成 JSON", "en": "Generate JSON"}

    into: str = titled("结果字段", "Into", ...)
    """The column that takes the text."""
    columns: Pairs | None = titled("字段", "Columns", None)
    """JSON key with column, or a list of columns."""
    nulls: Literal["keep", "drop"] = titled("空值", "Nulls", "keep")
    """Whether null columns stand as `null` or are left out."""
    keep: bool = titled("保留原字段", "Keep", False)
    """Keep the columns beside the text."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        used = self._used(dataset)
        need_columns(dataset, list(used.values()))
        kept = self._kept(dataset)
        found = strictest([dataset.schema.field(c) for c in used.values()])
        meta = {Meta.LOGICAL.value: "json"} | ({Meta.CLASS.value: found} if found else {})
        fields = [*(dataset.schema.field(c) for c in kept), pa.field(self.into, pa.string(), metadata=dict(meta))]
        no_duplicates([field.name for field in fields], self.verb)
        return reshaped(dataset, fields, {c: c for c in kept})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in self._kept(inputs[0])}
        return made | {self.into: {(0, c) for c in self._used(inputs[0]).values()}}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in self._used(inputs[0]).values()}

    def projection(self, dataset: Dataset) -> Projection:
        trees = {c: column(c) for c in self._kept(dataset)}
        return Projection(trees | {self.into: self._tree(dataset)})

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def _used(self, dataset: Dataset) -> dict[str, str]:
        return self.columns if self.columns is not None else {c: c for c in dataset.columns}

    def _kept(self, dataset: Dataset) -> list[str]:
        used = set() if self.keep else set(self._used(dataset).values())
        return [c for c in dataset.columns if c not in used]

    def _tree(self, dataset: Dataset) -> exp.Expr:
        import sqlglot

        members = []
        for key, name in self._used(dataset).items():
            sql = quoted(name)
            start = "'" + (json.dumps(key, ensure_ascii=False) + ":").replace("'", "''") + "'"
            value = f"{start} || {_value(sql, dataset.schema.field(name))}"
            otherwise = "" if self.nulls == "drop" else f" ELSE {start} || 'null'"
            members.append(f"CASE WHEN {sql} IS NOT NULL THEN {value}{otherwise} END")
        return sqlglot.parse_one("'{' || concat_ws(',', " + ", ".join(members) + ") || '}'", read="duckdb")


def _value(sql: str, field: pa.Field[Any]) -> str:
    """SQL of the JSON of a value that is not null."""
    kind = field.type
    text = f"CAST({sql} AS VARCHAR)"
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return text
    if pa.types.is_floating(kind):
        names = f"CASE WHEN isnan({sql}) THEN 'NaN' WHEN {sql} > 0 THEN 'Infinity' ELSE '-Infinity' END"
        return f"CASE WHEN isfinite({sql}) THEN {text} ELSE '\"' || {names} || '\"' END"
    if pa.types.is_timestamp(kind):
        return f"'\"' || replace({text}, ' ', 'T') || '{':00' if kind.tz else ''}\"'"
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return f"'\"' || {text} || '\"'"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"'\"' || to_base64(CAST({sql} AS BLOB)) || '\"'"
    if metadata(field).get(Meta.LOGICAL) == "json":
        return f"CASE WHEN json_valid({text}) THEN {text} ELSE CAST(to_json({text}) AS VARCHAR) END"
    return f"CAST(to_json({sql}) AS VARCHAR)"


operator = ToJson
