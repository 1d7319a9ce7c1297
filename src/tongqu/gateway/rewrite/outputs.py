"""What a question wants to be given: fields, casts that cannot fail, and aggregates, with the types they come in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.gateway.asking import Ask, Wanted
from tongqu.gateway.problems import Problem, malformed
from tongqu.gateway.rewrite.binding import Binding, Shape
from tongqu.gateway.rewrite.views import Seen, unfit
from tongqu.meaning.fields import metadata

if TYPE_CHECKING:
    from sqlglot import exp

    from tongqu.gateway.rewrite.trees import Writer

_NAME = re.compile(r"[\w][\w .\-]{0,62}")
_NUMERIC = re.compile(r"(?:numeric|decimal)(?:\((\d{1,2})(?:,(\d{1,2}))?\))?")
_MOST = 500
_NUMBERS = frozenset(("int", "decimal", "float"))
_ORDERABLE = frozenset(("int", "decimal", "float", "text", "date", "timestamp", "instant", "time"))
_WORDS = {
    "text": "text", "varchar": "text", "string": "text", "int": "int", "integer": "int", "int4": "int", "int8": "int",
    "bigint": "int", "int64": "int", "float8": "float", "double": "float", "double precision": "float",
    "date": "date", "timestamp": "timestamp", "timestamptz": "instant", "bool": "bool", "boolean": "bool",
    "uuid": "uuid", "json": "json", "jsonb": "json",
}  # fmt: skip
_CASTS = {
    "text": ("int", "decimal", "text", "bool", "date", "timestamp", "instant", "time", "uuid", "json"),
    "int": ("int",), "float": ("int", "decimal", "float"), "date": ("date", "timestamp"), "bool": ("bool",),
    "timestamp": ("date", "timestamp"), "instant": ("instant",), "uuid": ("uuid",), "json": ("json",),
}  # fmt: skip
"""From which kinds a cast to each cannot fail, so that no error tells anything of a row."""
_TYPES: dict[str, tuple[str, pa.DataType]] = {
    "text": ("TEXT", pa.string()), "int": ("BIGINT", pa.int64()), "float": ("DOUBLE", pa.float64()),
    "date": ("DATE", pa.date32()), "timestamp": ("TIMESTAMP", pa.timestamp("us")),
}  # fmt: skip


_EXACT = {"duckdb:UHUGEINT": "BIGNUM", "duckdb:HUGEINT": "BIGNUM"}
"""Native types whose sum is a float (UHUGEINT) or may not fit (HUGEINT), with one whose sum is exact."""


@dataclass(frozen=True)
class Output:
    """One column of the answer. `shape` is what is read, None for `count()`."""

    name: str
    shape: Shape | None
    field: pa.Field[Any]
    aggregate: str = ""
    cast: str = ""
    """SQL name of the type it is cast to, in sqlglot's words."""
    after: Callable[[Any], Any] | None = None
    inner: str = ""
    """The database's own name of the type that is aggregated, where its sum of the column's own type is not exact."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What the column's SQL depends on."""
        return self.name, self.shape, self.aggregate, self.cast

    def tree(self, writer: Writer) -> exp.Expr:
        """The column without its alias."""
        from sqlglot import exp

        made: exp.Expr = exp.Star() if self.shape is None else writer.target(self.shape)
        if self.aggregate:
            kinds: dict[str, Any] = {"count": exp.Count, "sum": exp.Sum, "avg": exp.Avg, "min": exp.Min, "max": exp.Max}
            if self.inner:
                made = exp.Cast(this=made, to=exp.DataType.build(self.inner, udt=True))
            made = kinds[self.aggregate](this=made)
        return exp.Cast(this=made, to=exp.DataType.build(self.cast)) if self.cast else made


def outputs(ask: Ask, binding: Binding) -> tuple[Output, ...]:
    """The columns of the answer. Raises Problem for unknown fields, casts, aggregates and names."""
    wanted = ask.wanted if ask.wanted is not None else (Wanted("*"),)
    made: list[Output] = []
    for one in wanted:
        if one.field == "*" and not one.aggregate:
            binding.used.update(binding.view.fields)
            made += binding.view.kept("*", lambda: [_output(Wanted(name), binding) for name in binding.view.fields])
        else:
            made.append(_output(one, binding))
    if len(made) > _MOST:
        raise Problem("query.malformed", f"more than {_MOST} columns are too many")
    if any(one.aggregate for one in made) and (masked := next((one for one in made if one.after), None)):
        raise unfit(masked.field.name)
    if len({one.name for one in made}) < len(made):
        raise malformed("select", "two outputs have the same name")
    return tuple(made)


def _output(wanted: Wanted, binding: Binding) -> Output:
    name = wanted.name or wanted.aggregate or wanted.field
    if wanted.name and not _NAME.fullmatch(wanted.name):
        raise Problem("query.malformed", "a name of an output is letters, digits, `_`, `-`, `.` and blanks, at most 63")
    if wanted.aggregate == "count" and not wanted.field:
        return _cast(Output(name, None, pa.field(name, pa.int64(), nullable=False), "count"), wanted.cast, "int")
    seen = binding.view.seen(wanted.field)
    if seen.after is not None and not (wanted.path or wanted.cast or wanted.aggregate):
        binding.used.add(wanted.field)
        return Output(name, ("field", wanted.field), seen.field.with_name(name), after=seen.after)
    shape, seen = binding.target(wanted.field, wanted.path, wanted.text)
    if wanted.aggregate:
        return _aggregate(wanted, name, shape, seen)
    return _cast(Output(name, shape, seen.field.with_name(name).with_nullable(seen.nullable)), wanted.cast, seen.family)


def _aggregate(wanted: Wanted, name: str, shape: Shape, seen: Seen) -> Output:
    kind, word = seen.family, str(wanted.aggregate)
    if word == "count":
        return _cast(Output(name, shape, pa.field(name, pa.int64(), nullable=False), word), wanted.cast, "int")
    if (word in ("sum", "avg") and kind not in _NUMBERS) or kind not in _ORDERABLE:
        raise Problem("query.malformed", f"{word}() of {wanted.field!r}, which holds {kind}, is not possible")
    if word == "avg" or (word == "sum" and kind == "float"):
        return Output(name, shape, pa.field(name, pa.float64()), word, "DOUBLE")
    if word == "sum" and _boundless(seen.field.type):
        native = metadata(seen.field).get(Meta.NATIVE, "")
        given = _summed(seen.field).with_name(name).with_nullable(True)
        return Output(name, shape, given, word, inner=_EXACT.get(native, ""))
    if word == "sum":
        scale = seen.field.type.scale if pa.types.is_decimal(seen.field.type) else 0
        return Output(name, shape, pa.field(name, pa.decimal128(38, scale)), word, f"DECIMAL(38, {scale})")
    return _cast(Output(name, shape, seen.field.with_name(name).with_nullable(True), word), wanted.cast, kind)


def _cast(made: Output, word: str, kind: str) -> Output:
    if not word:
        return made
    told = word.strip().lower()
    numeric = _NUMERIC.fullmatch(told)
    target = "decimal" if numeric else _WORDS.get(told, "")
    if numeric and numeric[1] is None and kind == "decimal" and _boundless(made.field.type):
        return made
    if numeric and kind in ("int", "decimal") and numeric[1] is None:
        scale = made.field.type.scale if pa.types.is_decimal(made.field.type) else 0
        return _with(made, f"DECIMAL(38, {scale})", pa.decimal128(38, scale))
    if kind not in _CASTS.get(target, ()):
        raise Problem("query.malformed", f"a cast of {made.name!r} to {word[:40]!r} could fail or is not known")
    if target == kind:
        return made
    return _with(made, *_TYPES[target])


def _boundless(kind: pa.DataType) -> bool:
    """Whether numbers have more digits than DECIMAL(38, …) holds: a cast to it would round them, or cut them off."""
    return pa.types.is_string(kind) or pa.types.is_decimal256(kind)


def _summed(field: pa.Field[Any]) -> pa.Field[Any]:
    """What a sum of a boundless column is: as wide as there is."""
    return field.with_type(pa.decimal256(76, field.type.scale)) if pa.types.is_decimal256(field.type) else field


def _with(made: Output, sql: str, kind: pa.DataType) -> Output:
    field = pa.field(made.name, kind, nullable=made.field.nullable)
    return Output(made.name, made.shape, field, made.aggregate, sql)
