"""Cut one text column into several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Fault, Lineage, Operator, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column
from tongqu.meaning.fields import recast
from tongqu.meaning.sandbox import quoted

if TYPE_CHECKING:
    from sqlglot import exp


_NO_GROUP = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
"""What holds no group of an RE2 pattern: quoted text, escaped signs, classes of signs."""
_GROUP = re.compile(r"\((?!\?)|\(\?P?<")


class SplitColumns(Operator):
    """Cut a text column into several: `split_columns: {column: lot, separator: "-", into: [plant, day, no]}`.

    ```yaml
    - split_columns: {column: code, widths: [2, 8, 4], into: [plant, day, serial], missing: quarantine, extra: drop}
    - split_columns: {column: size, pattern: "([0-9]+)x([0-9]+)", into: [width, height]}
    ```

    By `separator` (plain text), by `widths` in characters, or by an RE2 `pattern` that the whole text must match, whose
    groups are the parts (a group that takes no part is an empty text). `missing` says what a text with too few parts
    (shorter than the widths reach, not matching the pattern) means: parts are null (the default), or the row goes to
    quarantine as `split_columns.missing`. `extra` says what too many parts or characters mean: quarantine as
    `split_columns.extra` (the default), drop them, or `last`: the last column takes the rest. A null text gives nulls.
    Parts are texts; `cast` them after. The column itself goes unless `keep: true`.
    """

    verb = "split_columns"
    title: ClassVar[Mapping[str, str]] = {"zh": "拆分为列", "en": "Split into columns"}

    column: str = titled("字段", "Column")
    """The text column."""
    into: tuple[str, ...] = titled("结果字段", "Into", min_length=1)
    """The columns that take the parts."""
    separator: str | None = titled("分隔符", "Separator", None, min_length=1)
    """The text between two parts."""
    widths: tuple[PositiveInt, ...] | None = titled("宽度", "Widths", None)
    """Characters of each part."""
    pattern: str | None = titled("模式", "Pattern", None)
    """A pattern with one group a part."""
    missing: Literal["null", "quarantine"] = titled("部分不足时", "Missing", "null")
    """What too few parts mean."""
    extra: Literal["quarantine", "drop", "last"] = titled("部分过多时", "Extra", "quarantine")
    """What too many parts mean."""
    keep: bool = titled("保留原字段", "Keep", False)
    """Keep the column itself."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> SplitColumns:
        if isinstance(raw, Mapping) and raw.get("missing", "") is None:  # YAML reads a bare null as nothing
            raw = {**raw, "missing": "null"}
        return super().from_yaml(raw, path)

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, [self.column])
        self._check(dataset)
        fields: list[pa.Field[Any]] = []
        for field in dataset.schema:
            if field.name != self.column or self.keep:
                fields.append(field)
            if field.name == self.column:
                part = recast(field, pa.string(), None, title=None).with_nullable(True)
                fields += [part.with_name(name) for name in self.into]
        no_duplicates([field.name for field in fields], self.verb)
        kept = [c for c in dataset.columns if c != self.column or self.keep]
        return reshaped(dataset, fields, {c: c for c in kept})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, self.column if c in self.into else c)} for c in self.output(inputs).columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, self.column)}

    def projection(self, dataset: Dataset) -> Projection:
        parts = dict(zip(self.into, self._parts(), strict=True))
        made: dict[str, exp.Expr] = {}
        for c in dataset.columns:
            if c != self.column or self.keep:
                made[c] = column(c)
            if c == self.column:
                made |= parts
        return Projection(made)

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        text, found = quoted(self.column), []
        few = {
            "separator": f"{self._count()} < {len(self.into)}",
            "widths": f"length({text}) < {sum(self.widths or ())}",
            "pattern": f"NOT regexp_full_match({text}, {_literal(self.pattern or '')})",
        }[self._way]
        many = {
            "separator": f"{self._count()} > {len(self.into)}",
            "widths": f"length({text}) > {sum(self.widths or ())}",
            "pattern": "",
        }[self._way]
        if self.missing == "quarantine":
            words = f"does not match {self.pattern}" if self.pattern else f"has fewer than {len(self.into)} parts"
            found.append(Fault("split_columns.missing", self.column, _sure(few), words))
        if self.extra == "quarantine" and many:
            found.append(
                Fault("split_columns.extra", self.column, _sure(many), f"has more than {len(self.into)} parts")
            )
        return found

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    @property
    def _way(self) -> str:
        return "separator" if self.separator is not None else "widths" if self.widths is not None else "pattern"

    def _count(self) -> str:
        return f"len(string_split({quoted(self.column)}, {_literal(self.separator or '')}))"

    def _parts(self) -> list[exp.Expr]:
        import sqlglot

        text, last = quoted(self.column), len(self.into) - 1
        made: list[str] = []
        if self.separator is not None:
            separator = _literal(self.separator)
            parts = f"string_split({text}, {separator})"
            made = [f"list_extract({parts}, {n + 1})" for n in range(len(self.into))]
            if self.extra == "last":
                rest = f"array_to_string(list_slice({parts}, {last + 1}, -1), {separator})"
                made[last] = f"CASE WHEN {self._count()} > {last} THEN {rest} END"
        elif self.widths is not None:
            start = 1
            for number, width in enumerate(self.widths):
                most = 2_000_000_000 if number == last and self.extra == "last" else width
                made.append(f"CASE WHEN length({text}) >= {start} THEN substring({text}, {start}, {most}) END")
                start += width
        else:
            whole = _literal(f"\\A(?:{self.pattern})\\z")
            matches = f"regexp_full_match({text}, {_literal(self.pattern or '')})"
            made = [
                f"CASE WHEN {matches} THEN regexp_extract({text}, {whole}, {n + 1}) END" for n in range(len(self.into))
            ]
        return [sqlglot.parse_one(sql, read="duckdb") for sql in made]

    def _check(self, dataset: Dataset) -> None:
        kind = dataset.schema.field(self.column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InvalidPlanError(f"{self.column!r} is {kind}, not text", hint=f"cast: {{{self.column}: varchar}}")
        ways = [w for w in ("separator", "widths", "pattern") if getattr(self, w) is not None]
        if len(ways) != 1:
            raise InvalidPlanError(
                f"split_columns is given {' and '.join(ways) or 'no way to cut'}",
                hint="give one of separator, widths, pattern",
            )
        if self.widths is not None and len(self.widths) != len(self.into):
            raise InvalidPlanError(f"there are {len(self.widths)} widths for {len(self.into)} columns")
        if self.pattern is not None:
            self._check_pattern(self.pattern)

    def _check_pattern(self, pattern: str) -> None:
        try:
            pc.match_substring_regex(pa.array([""]), pattern)  # RE2, as in DuckDB
        except pa.ArrowInvalid as error:
            raise InvalidPlanError(f"the pattern is no regular expression (RE2): {error}") from None
        groups = sum(1 for _ in _GROUP.finditer(_NO_GROUP.sub("", pattern)))
        if groups != len(self.into):
            raise InvalidPlanError(
                f"the pattern has {groups} groups for {len(self.into)} columns", hint="a group that is no part: (?:…)"
            )
        if groups > 9:
            raise InvalidPlanError("a pattern can have 9 groups at most", hint="cut it in two steps")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=256)
def _sure(sql: str) -> exp.Expr:
    """The condition, false where it is null."""
    import sqlglot

    return sqlglot.parse_one(f"coalesce({sql}, false)", read="duckdb")


operator = SplitColumns
