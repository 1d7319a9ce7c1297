"""Read fields out of JSON or XML texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import BeforeValidator

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError
from tongqu.core.operator import Expansion, Fault, Lineage, Operator, Place
from tongqu.core.settings import Settings, titled
from tongqu.meaning.expressions import arrow_type, cast, column, parse_type, type_of
from tongqu.meaning.fields import recast
from tongqu.meaning.json_numbers import JSON_COLUMN, exact_numbers
from tongqu.meaning.paths import json_path, xml_path
from tongqu.meaning.sandbox import quoted, relation_names
from tongqu.meaning.xml_values import SEVERAL, STATUS_COLUMN, VALUES_COLUMN, with_values

_INVALID = 1
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


class Part(Settings):
    """Where a field stands in the text, and its type."""

    path: str | None = titled("路径", "Path", None)
    """JSON: keys with dots and positions from 0, `data.items[0].code`; XML: elements below the root with slashes and an
    attribute, `header/item/@no`. By default the field's own name."""
    type: str = titled("类型", "Type", "varchar")
    """The field's type in DuckDB's spelling."""
    required: bool = titled("必填", "Required", False)
    """A text without it sends its row to quarantine."""


def _parts(raw: Any) -> Any:
    if isinstance(raw, list | tuple):
        return {str(name): {} for name in raw}
    if isinstance(raw, Mapping):
        return {name: {"type": part} if isinstance(part, str) else part for name, part in raw.items()}
    return raw


class Parse(Operator):
    """Read fields out of a JSON or XML text: `parse: {column: payload, format: json, fields: {lot_no: varchar}}`.

    ```yaml
    - parse:
        column: payload
        format: json
        fields: {lot_no: varchar, weight: {path: "data.weight", type: "decimal(9,3)", required: true}}
        keep: false
    ```

    What is not there, or is null, is null. Numbers are read exactly, whatever their length; an object or array read as
    text is its JSON; the type `json` keeps it as such. XML elements give their text, with all text inside them, by
    local name whatever the namespace; an element that comes several times needs a position, `item[0]`.

    A row goes to quarantine as `parse.invalid` if the text is no JSON object or array, or no XML (one with a DOCTYPE
    counts as none, since it could pull in anything), as `parse.type` if a value does not fit its type (a fraction does
    not fit an integer), as `parse.missing` if a required field is not there, as `parse.several` if an XML path without
    position meets several elements. A null text gives nulls. DuckDB lets JSON pass that is slightly wrong: a comma too
    many, `NaN`. The column itself goes unless `keep: true`.
    """

    verb = "parse"
    title: ClassVar[Mapping[str, str]] = {"zh": "解析", "en": "Parse"}

    column: str = titled("字段", "Column")
    """The text column."""
    format: Literal["json", "xml"] = titled("格式", "Format")
    """What the text is."""
    fields: Annotated[
        dict[str, Part], BeforeValidator(_parts, json_schema_input_type=dict[str, Part | str] | list[str])
    ] = titled("解析字段", "Fields", min_length=1)
    """Each new column with its type, or with path, type and required; or a list of names."""
    keep: bool = titled("保留原字段", "Keep", False)
    """Keep the column itself."""

    def bound(self, surroundings: Place) -> Parse:
        for name, part in self.fields.items():
            parse_type(part.type)
            (json_path if self.format == "json" else xml_path)(part.path or name)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [self.column])
        old = dataset.schema.field(self.column)
        if not (pa.types.is_string(old.type) or pa.types.is_large_string(old.type)):
            raise InvalidPlanError(f"{self.column!r} is {old.type}, not text", hint=f"cast: {{{self.column}: varchar}}")
        kept = [c for c in dataset.columns if c != self.column or self.keep]
        fields: list[pa.Field[Any]] = [dataset.schema.field(c) for c in kept]
        for name, (kind, arrow) in self._types().items():
            found = recast(old, *arrow_type(kind, arrow), title=None, unit=None).with_name(name)
            fields.append(found.with_nullable(not self.fields[name].required or old.nullable))
        no_duplicates([field.name for field in fields], self.verb)
        return reshaped(dataset, fields, {c: c for c in kept})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, self.column if c in self.fields else c)} for c in self.output(inputs).columns}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns if c != self.column or self.keep}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, self.column)}

    def expansion(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion:
        (dataset,) = inputs
        names = relation_names(dataset.columns)
        text = quoted(names[self.column])
        kept = [c for c in dataset.columns if c != self.column or self.keep]
        out = relation_names([*kept, *self.fields])
        faults = {_INVALID: Fault("parse.invalid", self.column, column(self.column), f"is no {self.format.upper()}")}
        tests = [f"WHEN _tongqu_status = {_INVALID} THEN {_INVALID}"]
        items = [f"{quoted(names[c])} AS {quoted(out[c])}" for c in kept]
        for number, (name, (kind, _)) in enumerate(self._types().items()):
            value = f"list_extract(_tongqu_values, {number + 1})"
            items.append(f"{_cast(value, kind)} AS {quoted(out[name])}")
            if self.format == "xml":
                code = self._fault(faults, "parse.several", f"has several {self.fields[name].path or name}")
                tests.append(f"WHEN _tongqu_status = {SEVERAL + number} THEN {code}")
            if self.fields[name].required:
                code = self._fault(faults, "parse.missing", f"has no {self.fields[name].path or name}")
                tests.append(f"WHEN {text} IS NOT NULL AND {value} IS NULL THEN {code}")
            if kind != "VARCHAR":
                code = self._fault(faults, "parse.type", f"has a {name} that is no {self.fields[name].type}")
                tests.append(f"WHEN {_unfit(value, kind)} THEN {code}")
        items += ["_tongqu_row", f"CASE {' '.join(tests)} ELSE 0 END AS _tongqu_fault"]
        return Expansion(
            f"SELECT {', '.join(items)} FROM ({self._read(relations[0], text)})",
            faults,
            prepare=self._prepare(names[self.column]),
        )

    def _read(self, relation: str, text: str) -> str:
        """The rows with the list of values as texts, and the status of each text."""
        if self.format == "xml":
            return f"SELECT *, {VALUES_COLUMN} AS _tongqu_values, {STATUS_COLUMN} AS _tongqu_status FROM {relation}"
        paths = ", ".join("'" + json_path(p.path or n).replace("'", "''") + "'" for n, p in self.fields.items())
        fine = f"json_type(TRY_CAST({JSON_COLUMN} AS JSON)) IN ('OBJECT', 'ARRAY')"
        document = f"CASE WHEN {fine} THEN {JSON_COLUMN} END"
        return (
            f"SELECT *, json_extract_string({document}, [{paths}]) AS _tongqu_values, "
            f"CASE WHEN {text} IS NULL THEN 0 WHEN {fine} THEN 0 ELSE {_INVALID} END AS _tongqu_status FROM {relation}"
        )

    def _prepare(self, name: str) -> Any:
        if self.format == "json":
            return partial(exact_numbers, name=name)
        paths = [xml_path(part.path or field) for field, part in self.fields.items()]
        return partial(with_values, name=name, paths=paths)

    def _fault(self, faults: dict[int, Fault], code: str, message: str) -> int:
        number = max(faults) + 1
        faults[number] = Fault(code, self.column, column(self.column), message)
        return number

    def _types(self) -> dict[str, tuple[str, pa.DataType]]:
        """DuckDB's and Arrow's type of each field."""
        probe = pa.schema([pa.field("value", pa.string())])
        found = {}
        for name, part in self.fields.items():
            try:
                (found[name],) = type_of([cast(column("value"), part.type, trying=True)], probe)
            except ExpressionError as error:
                raise InvalidPlanError(f"field {name!r}: {error.message}", hint=error.hint) from None
        return found


def _cast(value: str, kind: str) -> str:
    return value if kind == "VARCHAR" else f"TRY_CAST({value} AS {kind})"


def _unfit(value: str, kind: str) -> str:
    """SQL: the value is there and cannot be read as the type."""
    if kind == "JSON":
        return "false"
    wrong = f"TRY_CAST({value} AS {kind}) IS NULL"
    if kind in _WHOLE:
        number = f"TRY_CAST({value} AS DOUBLE)"
        wrong += f" OR {number} <> trunc({number})"
    return f"{value} IS NOT NULL AND ({wrong})"


operator = Parse
