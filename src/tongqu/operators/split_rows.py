"""Make several rows of one: a text with separators, a JSON array or a list, one row an element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Expansion, Fault, Lineage, Operator
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column
from tongqu.meaning.fields import recast
from tongqu.meaning.json_numbers import JSON_COLUMN, exact_numbers
from tongqu.meaning.sandbox import quoted, relation_names


class SplitRows(Operator):
    """One row for each element of a column: `split_rows: {column: defects, separator: ";"}`.

    ```yaml
    - split_rows: {column: defects, separator: ";", into: defect, position: no, trim: true, blank: drop, empty: keep}
    ```

    A text is cut at every `separator` (plain text, no pattern); with `format: json` it is an array, whose elements come
    as text (null stays null, objects and arrays as JSON); a list column needs neither. All other columns are repeated.
    `trim` takes spaces off both ends of each element and `blank: drop` leaves out elements that are empty texts. A row
    whose column is null or has no elements stays once, with null; with `empty: drop` it is dropped and counts as
    filtered. A text that is no JSON array sends its row to quarantine as `split_rows.invalid`. Over changes
    (`mode: incremental`) it is refused unless the sink appends: a changed row could leave elements it no longer has.
    """

    verb = "split_rows"
    title: ClassVar[Mapping[str, str]] = {"zh": "拆分为行", "en": "Split into rows"}

    column: str = titled("字段", "Column")
    """The column that holds several values."""
    separator: str | None = titled("分隔符", "Separator", None, min_length=1)
    """The text between two elements."""
    format: Literal["json"] | None = titled("格式", "Format", None)
    """`json`: the text is a JSON array."""
    into: str | None = titled("结果字段", "Into", None)
    """The name of the column with one element; by default it keeps its name."""
    position: str | None = titled("序号字段", "Position", None)
    """A column with the element's number, from 1."""
    trim: bool = titled("去除空格", "Trim", False)
    """Take spaces off both ends of each element."""
    blank: Literal["keep", "drop"] = titled("空白元素", "Blank elements", "keep")
    """What happens to elements that are empty texts."""
    empty: Literal["keep", "drop"] = titled("无元素的行", "Rows without elements", "keep")
    """What happens to rows whose column is null or has no elements."""

    @property
    def leaves_rows(self) -> bool:
        return True

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [self.column])
        kind = dataset.schema.field(self.column).type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if text and (self.separator is None) == (self.format is None):
            raise InvalidPlanError(f"{self.column!r} is text", hint="give either `separator` or `format: json`")
        if not text and (not listed or self.separator is not None or self.format is not None):
            raise InvalidPlanError(
                f"{self.column!r} is {kind}, not text",
                hint="a list is split without `separator` and `format`; cast other types to varchar before",
            )
        if listed and (self.trim or self.blank == "drop") and not pa.types.is_string(kind.value_type):
            raise InvalidPlanError(
                f"the elements of {self.column!r} are {kind.value_type}, not text", hint="drop `trim`"
            )
        name = self.into or self.column
        fields: list[pa.Field[Any]] = []
        for field in dataset.schema:
            if field.name == self.column:
                element = kind.value_type if listed else pa.string()
                fields.append(recast(field, element, None).with_name(name).with_nullable(True))
            else:
                fields.append(field)
        if self.position is not None:
            fields.append(pa.field(self.position, pa.int64(), nullable=False))
        no_duplicates([field.name for field in fields], self.verb)
        made = reshaped(dataset, fields, {c: c for c in dataset.columns if c != self.column})
        return made.bound(made.name, (*made.key, self.position) if made.key and self.position else ())

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {}
        for c in inputs[0].columns:
            made[(self.into or c) if c == self.column else c] = {(0, c)}
        return made | ({self.position: {(0, self.column)}} if self.position is not None else {})

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns if c != self.column}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, self.column)}

    def expansion(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion:
        (dataset,) = inputs
        names = relation_names(dataset.columns)
        output = self.output(inputs)
        out = relation_names(output.columns)
        value = JSON_COLUMN if self.format else quoted(names[self.column])
        elements, fault = self._elements(value)
        nothing = "[NULL]" if self.empty == "keep" else "[]"
        prepared = (
            f"SELECT *, CASE WHEN len(_tongqu_all) > 0 AND _tongqu_fault = 0 THEN _tongqu_all "
            f"WHEN _tongqu_fault <> 0 THEN [NULL] ELSE {nothing} END AS _tongqu_list "
            f"FROM (SELECT *, {elements} AS _tongqu_all, {fault} AS _tongqu_fault FROM {relations[0]})"
        )
        items = []
        for c in dataset.columns:
            sql = "unnest(_tongqu_list)" if c == self.column else quoted(names[c])
            items.append(f"{sql} AS {quoted(out[(self.into or c) if c == self.column else c])}")
        number = "generate_subscripts(_tongqu_list, 1)"
        if self.position is not None:
            items.append(f"{number} AS {quoted(out[self.position])}")
        items += ["_tongqu_row", "_tongqu_fault", f"{number} AS _tongqu_place"]
        message = "is not a JSON array"
        return Expansion(
            f"SELECT {', '.join(items)} FROM ({prepared})",
            {1: Fault("split_rows.invalid", self.column, column(self.column), message)},
            order="_tongqu_place",
            prepare=(lambda table: exact_numbers(table, names[self.column])) if self.format else None,
        )

    def _elements(self, value: str) -> tuple[str, str]:
        """SQL of the list of elements, and of the fault."""
        fault = "0"
        if self.format == "json":
            fine = f"json_type(TRY_CAST({value} AS JSON)) = 'ARRAY'"
            fault = f"CASE WHEN {value} IS NULL THEN 0 WHEN {fine} THEN 0 ELSE 1 END"
            elements = f"json_extract_string(CASE WHEN {fine} THEN {value} END, '$[*]')"
        elif self.separator is not None:
            separator = self.separator.replace("'", "''")
            elements = f"string_split({value}, '{separator}')"
        else:
            elements = value
        if self.trim:
            elements = f"list_transform({elements}, lambda x: trim(x))"
        if self.blank == "drop":
            elements = f"list_filter({elements}, lambda x: x IS NULL OR x <> '')"
        return elements, fault


operator = SplitRows
