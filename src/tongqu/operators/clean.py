"""Bring values to one form, and repair outliers by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator, model_validator

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Fault, Lineage, Operator, Place, Projection
from tongqu.core.settings import Settings, titled
from tongqu.core.treatment import Repair
from tongqu.meaning.cleaning import Form, Order, Spelling, blank, day, instant, number, parsed, spelled
from tongqu.meaning.codes import typed_as
from tongqu.meaning.expressions import column, render, rounded, type_of
from tongqu.meaning.fields import recast
from tongqu.meaning.outliers import Outliers, high, levels, low, merged, outside
from tongqu.meaning.sandbox import quoted, relation_names
from tongqu.meaning.surveys import PREFIX, own_columns, surveyed


class Dates(Settings):
    """How a text spells a date."""

    to: Literal["date", "timestamp"] = titled("结果类型", "To", "date")
    """The result's type. A time other than midnight is no `date`, since it would be lost."""
    order: Order | None = titled("日月顺序", "Order", None)
    """How to read `3/4/2024`: `dmy` or `mdy`. Without it such a text is no date, since it could be either."""
    excel: bool = titled("Excel 序列号", "Excel serials", False)
    """Numbers are days of Excel's 1900 calendar: 45296 is 2024-01-05."""


class Numbers(Settings):
    """How a text spells a number."""

    type: str = titled("结果类型", "Type", "double")
    """The result's type: `decimal(12,2)`, `bigint`, `double`."""
    thousands: str = titled("千分位符", "Thousands separator", ",", max_length=1)
    """The sign between groups of three digits; empty if there is none."""
    decimal: str = titled("小数点", "Decimal point", ".", min_length=1, max_length=1)
    """The sign before the fraction."""
    currency: bool = titled("货币符号", "Currency", False)
    """A currency's sign or code may stand before or after it: `￥1,234`, `100 元`."""
    percent: bool = titled("百分号", "Percent", False)
    """`12%` is 0.12 and `5‰` is 0.005."""
    units: bool = titled("万亿单位", "Chinese units", False)
    """`1.2万` is 12000; 千, 百万, 千万 and 亿 likewise."""

    @model_validator(mode="after")
    def _distinct(self) -> Numbers:
        known = self.decimal in ".," and self.thousands in ("", ",", ".", "'", " ", "_")
        if self.thousands == self.decimal or not known:
            raise ValueError("`decimal` is . or , and `thousands` another sign of , . ' _ or space")
        return self


class Cleaning(Settings):
    """What is done to one column: `text`, then `date` or `number`, then `outliers`."""

    text: tuple[Spelling, ...] = titled("文本", "Text", ())
    """Spellings in order: `trim`, `collapse` (several spaces to one), `half_width`, `full_width`, `upper`, `lower`."""
    date: Dates | None = titled("日期", "Date", None)
    """The text is a date; `date: timestamp` for instants, or options."""
    number: Numbers | None = titled("数字", "Number", None)
    """The text is a number; `number: decimal(12,2)`, or options."""
    outliers: Outliers | None = titled("离群值", "Outliers", None)
    """Bounds for a number, and what a value outside becomes."""
    otherwise: Literal["quarantine", "null", "keep"] = titled("无法识别时", "Otherwise", "quarantine")
    """A text that is no date or number sends its row to quarantine, becomes null (as a repair), or stays; with `keep`
    the column stays text and what is understood is written as `2024-01-05` or `1234.50`."""
    keep_original: bool = titled("保留原值", "Keep the original", False)
    """Changes of mere spelling are kept on record like repairs; else they are only counted."""

    @field_validator("text", mode="before", json_schema_input_type=Spelling | list[Spelling])
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("date", mode="before", json_schema_input_type=Dates | Literal["date", "timestamp", True] | None)
    @classmethod
    def _date(cls, value: Any) -> Any:
        return {} if value is True else {"to": value} if isinstance(value, str) else value

    @field_validator("number", mode="before", json_schema_input_type=Numbers | str | Literal[True] | None)
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {} if value is True else {"type": value} if isinstance(value, str) else value

    @field_validator("otherwise", mode="before", json_schema_input_type=Literal["quarantine", "null", "keep"] | None)
    @classmethod
    def _null(cls, value: Any) -> Any:
        return "null" if value is None else value

    @model_validator(mode="after")
    def _sound(self) -> Cleaning:
        if self.date is not None and self.number is not None:
            raise ValueError("a column is a `date` or a `number`, not both")
        if self.outliers is not None and (self.date is not None or self.otherwise == "keep"):
            raise ValueError("`outliers` needs a number in every row")
        if not (self.text or self.date or self.number or self.outliers):
            raise ValueError("give `text`, `date`, `number` or `outliers`")
        return self

    @property
    def parses(self) -> bool:
        """Whether the text becomes a date or number."""
        return self.date is not None or self.number is not None


@dataclass(frozen=True)
class _Cell:
    """A column's SQL: as it comes in, read (before outliers are treated), and as it goes out."""

    name: str
    rule: Cleaning
    raw: str
    read: str
    out: str
    unread: str
    """True, never null, where the text is no date or number."""
    outside: str
    """True, never null, for outliers."""
    lost: str
    """True, never null, for outliers that have nothing to be replaced by."""


class Clean(Operator):
    """Clean values: `clean: {name: {text: [trim, half_width]}, day: {date: date}, amount: {number: "decimal(12,2)"},
    weight: {outliers: {min: 0, max: 500, then: clamp}}}`; a list is short for `text`.

    Dates of many spellings (`2024/1/5`, `20240105`, `2024年1月5日`, `5-Jan-24`) and numbers (`1,234.5`, `１２３`, and
    as declared `￥1,234`, `1.2万`, `12%`) are read; blank text is null. What cannot be read goes to quarantine as
    `clean.date` or `clean.number`, and so does a number with more digits than its type holds. An outlier goes to
    quarantine as `clean.outlier`, or is repaired: the row goes on with the new value, and the original row is kept in
    the quarantine's ledger in state `repaired` as `clean.clamp`, `.last_good`, `.median` or `.null`. Bounds from the
    data, medians and last good values need all rows, so they are refused over incremental reads; a bound or median is
    rounded to the column's type. Changes of mere spelling are counted (`cleaned`).
    """

    verb = "clean"
    title: ClassVar[Mapping[str, str]] = {"zh": "清洗", "en": "Clean values"}
    wraps = "columns"

    columns: dict[str, Cleaning] = Field(min_length=1, title="Column and cleaning")
    """Each column with what is done to it."""
    _known: dict[Any, tuple[list[_Cell], list[dict[str, str]]]] = PrivateAttr(default_factory=dict)

    @field_validator("columns", mode="before", json_schema_input_type=dict[str, Cleaning | Spelling | list[Spelling]])
    @classmethod
    def _short(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: {"text": v} if isinstance(v, str | list | tuple) else v for name, v in value.items()}

    @property
    def chunk_safe(self) -> bool:
        return not any(rule.outliers and rule.outliers.whole for rule in self.columns.values())

    def bound(self, surroundings: Place) -> Clean:
        for name, rule in self.columns.items():
            if rule.number is not None:
                try:
                    kind = typed_as(rule.number.type)[0]
                except InvalidPlanError as error:
                    error.path = f"{surroundings.path}.{name}.number.type"
                    raise
                if not _is_number(kind):
                    where = f"{surroundings.path}.{name}.number.type"
                    raise InvalidPlanError(f"{rule.number.type} is no type of numbers", path=where)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [name for _, name in sorted(self.reads(inputs))])
        trees = self.projection(dataset).columns
        seen = surveyed(dataset, self._compiled(dataset)[1])
        fields: list[pa.Field[Any]] = []
        for field in dataset.schema:
            if field.name in self.columns and self.columns[field.name].parses:
                ((_, kind),) = type_of([trees[field.name]], seen.schema)
                field = recast(field, kind, None)  # noqa: PLW2901  # the same field, retyped
            fields.append(field)
        return reshaped(dataset, fields, {c: c for c in dataset.columns if c not in self.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        for name, rule in self.columns.items():
            made[name] |= {(0, c) for c in _others(rule)}
        return made

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for name, rule in self.columns.items() for c in (name, *_others(rule))}

    def projection(self, dataset: Dataset) -> Projection:
        trees = {c: column(c) for c in own_columns(dataset)}
        return Projection(trees | {cell.name: parsed(cell.out) for cell in self._cells(dataset)})

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        found: list[Fault] = []
        for cell in self._cells(dataset):
            rule = cell.rule
            if rule.parses and rule.otherwise == "quarantine":
                found.append(Fault(_code(rule), cell.name, parsed(cell.unread), _unread(rule)))
            if rule.outliers is not None and rule.outliers.then == "quarantine":
                found.append(Fault("clean.outlier", cell.name, parsed(cell.outside), f"is {rule.outliers.words}"))
            elif rule.outliers is not None and rule.outliers.then in ("last_good", "median"):
                words = f"is {rule.outliers.words} and has no good value to be replaced by"
                found.append(Fault("clean.outlier", cell.name, parsed(cell.lost), words))
        return found

    def repairs(self, dataset: Dataset) -> Sequence[Repair]:
        found: list[Repair] = []
        for cell in self._cells(dataset):
            rule = cell.rule
            if rule.parses and rule.otherwise == "null":
                found.append(Repair(_code(rule), cell.name, parsed(cell.unread), _unread(rule)))
            if rule.outliers is not None and rule.outliers.then != "quarantine":
                code = f"clean.{rule.outliers.then}"
                found.append(Repair(code, cell.name, parsed(cell.outside), f"it is {rule.outliers.words}"))
            if rule.keep_original and (rule.parses or rule.text):
                found.append(Repair(_code(rule), cell.name, parsed(_respelled(cell)), "written in one form"))
        return found

    def cleaned(self, dataset: Dataset) -> Sequence[Any]:
        return [
            parsed(_respelled(cell))
            for cell in self._cells(dataset)
            if not cell.rule.keep_original and (cell.rule.parses or cell.rule.text)
        ]

    def surveys(self, dataset: Dataset) -> Sequence[Mapping[str, str]]:
        return () if self.chunk_safe else self._compiled(dataset)[1]

    def stages(self, dataset: Dataset) -> Sequence[Mapping[str, str]]:
        return self._compiled(dataset)[1] if self.chunk_safe else ()

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def _cells(self, dataset: Dataset) -> list[_Cell]:
        return self._compiled(dataset)[0]

    def _compiled(self, dataset: Dataset) -> tuple[list[_Cell], list[dict[str, str]]]:
        """The cells, and the columns they name, level by level."""
        plain = pa.schema([dataset.schema.field(name) for name in own_columns(dataset)])
        known = tuple((field.name, field.type) for field in plain)
        if known not in self._known:
            for name, rule in self.columns.items():
                _check(name, rule, plain.field(name).type)
            self._known[known] = _compiled(self.columns, replace(dataset, schema=plain))
        return self._known[known]


def _compiled(rules: Mapping[str, Cleaning], dataset: Dataset) -> tuple[list[_Cell], list[dict[str, str]]]:
    names = relation_names(dataset.columns)
    columns = {c: quoted(name) for c, name in names.items()}
    read = {name: _read(name, rule, str(at), dataset) for at, (name, rule) in enumerate(rules.items())}
    staged = [
        {k: render(parsed(v), names) for k, v in level.items()} for level in merged([r[0] for r in read.values()])
    ]
    seen = surveyed(dataset, staged)
    types = dict(zip(rules, type_of([parsed(sql) for _, sql, _ in read.values()], seen.schema), strict=True))
    drawn = []
    for at, (name, rule) in enumerate(rules.items()):
        if rule.outliers is not None and rule.outliers.whole:
            value = render(parsed(read[name][1]), names)
            floating = bool(pa.types.is_floating(types[name][1]))
            drawn.append(levels(rule.outliers, str(at), value, floating=floating, columns=columns))
    cells = [_cell(name, rule, str(at), read[name], types[name]) for at, (name, rule) in enumerate(rules.items())]
    return cells, [*staged, *merged(drawn)]


def _cell(name: str, rule: Cleaning, at: str, made: tuple[Any, str, str], kind: tuple[str, pa.DataType]) -> _Cell:
    _, read, unread = made
    raw = f"CAST({quoted(name)} AS VARCHAR)"
    if rule.outliers is None:
        return _Cell(name, rule, raw, read, read, unread, "FALSE", "FALSE")
    out_of = outside(rule.outliers, at, read)
    new = _replacement(rule.outliers, at, (read, kind[0]), whole=bool(pa.types.is_integer(kind[1])))
    out = f"CASE WHEN {out_of} THEN {new} ELSE {read} END"
    lost = f"({out_of} AND {new} IS NULL)" if rule.outliers.then in ("last_good", "median") else "FALSE"
    return _Cell(name, rule, raw, read, out, unread, out_of, lost)


def _read(name: str, rule: Cleaning, at: str, dataset: Dataset) -> tuple[list[dict[str, str]], str, str]:
    """The columns to compute, the SQL of the value before outliers are treated, and where it cannot be read."""
    raw = quoted(name)
    if not rule.parses:
        return [], spelled(raw, rule.text), "FALSE"
    if not _is_text(dataset.schema.field(name).type):
        raw = f"CAST({raw} AS VARCHAR)"
    source, value = f"{PREFIX}source{at}", f"{PREFIX}value{at}"
    if rule.date is not None:
        made, sql = instant(source, at, rule.date.order, excel=rule.date.excel)
        moment = f"{PREFIX}moment{at}"
        made = [*made, {moment: sql}, {value: day(moment) if rule.date.to == "date" else moment}]
    else:
        wanted = rule.number or Numbers()
        form = Form(wanted.thousands, wanted.decimal, wanted.currency, wanted.percent, wanted.units)
        exact = not pa.types.is_floating(typed_as(wanted.type)[0])
        made, sql = number(source, at, wanted.type, form, exact=exact)
        made = [*made, {value: sql}]
    unread = f"(NOT {blank(source)} AND {value} IS NULL)"
    read = value
    if rule.otherwise == "keep":
        read = f"CASE WHEN {unread} THEN {source} ELSE CAST({value} AS VARCHAR) END"
    return [{source: spelled(raw, rule.text)}, *made], read, unread


def _replacement(rule: Outliers, at: str, value: tuple[str, str], *, whole: bool) -> str:
    """What an outlier becomes, in the column's type; null where there is nothing, or the type cannot hold it."""
    read, kind = value
    if rule.then == "clamp":
        least, most = low(rule, at), high(rule, at)
        cases = []
        if least is not None:
            cases.append(f"WHEN {read} < {least} THEN TRY_CAST({f'ceil({least})' if whole else least} AS {kind})")
        if most is not None:
            cases.append(f"WHEN {read} > {most} THEN TRY_CAST({f'floor({most})' if whole else most} AS {kind})")
        return f"(CASE {' '.join(cases)} END)"
    if rule.then == "median":
        return rounded(f'"{PREFIX}new{at}"', kind)
    if rule.then == "last_good":
        return f'"{PREFIX}new{at}"'
    return "NULL"


def _respelled(cell: _Cell) -> str:
    """True, never null, where the value is another text than before and not repaired."""
    changed = f"CAST({cell.read} AS VARCHAR) IS DISTINCT FROM {cell.raw}"
    return f"({changed} AND NOT {cell.unread} AND NOT {cell.outside})"


def _check(name: str, rule: Cleaning, kind: pa.DataType) -> None:
    """Raise InvalidPlanError for a rule that makes no sense for the column's type."""
    if rule.text and not _is_text(kind):
        raise InvalidPlanError(f"{name!r} is {kind}; `text` cleans only text", hint="drop `text`")
    if rule.number is not None and not _is_text(kind):
        raise InvalidPlanError(f"{name!r} is {kind}, not text to read numbers from", hint="use a cast step")
    if rule.date is not None and not (_is_text(kind) or _is_number(kind)):
        raise InvalidPlanError(f"{name!r} is {kind}, not text to read dates from", hint="use a cast step")
    if rule.outliers is None:
        return
    if rule.number is None and not _is_number(kind):
        raise InvalidPlanError(
            f"{name!r} is {kind}; only numbers have outliers", hint="read it first: `number: double`"
        )
    final = typed_as(rule.number.type)[0] if rule.number is not None else kind
    if rule.outliers.then == "clamp" and pa.types.is_decimal(final):
        for limit in (rule.outliers.min, rule.outliers.max):
            exponent = limit.as_tuple().exponent if limit is not None else 0
            if isinstance(exponent, int) and -exponent > final.scale:
                raise InvalidPlanError(f"{name!r} is {final} and cannot be set to {limit}", hint="use fewer digits")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _others(rule: Cleaning) -> tuple[str, ...]:
    return (*rule.outliers.by, *rule.outliers.order) if rule.outliers is not None else ()


def _code(rule: Cleaning) -> str:
    return "clean.date" if rule.date is not None else "clean.number" if rule.number is not None else "clean.text"


def _unread(rule: Cleaning) -> str:
    if rule.date is not None:
        return f"is no {rule.date.to}"
    return f"is no {rule.number.type if rule.number else ''} in a known spelling"


operator = Clean
