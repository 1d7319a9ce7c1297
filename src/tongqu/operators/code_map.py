"""Bring codes of one system to those of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import field_validator, model_validator

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, UnknownNameError
from tongqu.core.operator import Fault, Lineage, Operator, Place, Projection
from tongqu.core.settings import Settings, titled
from tongqu.core.treatment import Treated
from tongqu.meaning.codes import case, converted, known, looked_up, read_codes, result_type, typed_as
from tongqu.meaning.expressions import cast, column, literal
from tongqu.meaning.fields import recast

if TYPE_CHECKING:
    from sqlglot import exp

_SHORT = 64
"""Longer maps are looked up by hash in Arrow instead of being spelled out in SQL."""

Value = bool | int | str | None


class CodeMap(Settings):
    """The map of one column."""

    map: dict[Value, Value] | None = titled("对照", "Map", None)
    """Each value with what it becomes: `{"1": open, "2": closed}`. Null stays null unless the map has it."""
    file: str | None = titled("文件", "File", None)
    """A CSV of two columns (value, becomes) under a heading line, UTF-8, in the project's folder."""
    codes: str | None = titled("代码表", "Code list", None)
    """A code list of the dictionary, `dataset.field`: the `codes` of that field."""
    unmatched: Literal["quarantine", "keep", "null"] = titled("未匹配", "Unmatched", "quarantine")
    """What happens to a value that the map does not have: the row goes to quarantine, it stays, or it becomes null."""
    default: Value = titled("默认值", "Default", None)
    """What a value becomes that the map does not have; instead of `unmatched`."""
    type: str | None = titled("结果类型", "Result type", None)
    """The result's type. By default bigint or boolean if all results are, else text."""
    into: str | None = titled("目标字段", "Into", None)
    """The column that takes the result, if the original shall stay."""

    @field_validator("unmatched", mode="before", json_schema_input_type=Literal["quarantine", "keep", "null"] | None)
    @classmethod
    def _null(cls, value: Any) -> Any:
        return "null" if value is None else value

    @model_validator(mode="after")
    def _one_map(self) -> CodeMap:
        if sum(given is not None for given in (self.map, self.file, self.codes)) != 1:
            raise ValueError("give one of `map`, `file` and `codes`")
        if "default" in self.model_fields_set and "unmatched" in self.model_fields_set:
            raise ValueError("give `unmatched` or `default`, not both")
        return self

    @property
    def defaults(self) -> bool:
        """Whether values the map does not have become `default`."""
        return "default" in self.model_fields_set

    @property
    def quarantines(self) -> bool:
        """Whether values the map does not have send their row to quarantine."""
        return not self.defaults and self.unmatched == "quarantine"


class CodeMapping(Operator):
    """Map codes: `code_map: {status: {map: {"1": open, "2": closed}, unmatched: quarantine}}`, from a file
    (`{status: {file: codes/status.csv}}`) or from the dictionary (`{status: {codes: inspection.status}}`).

    A value without a partner sends its row to quarantine as `code_map.unmatched`, or stays (`unmatched: keep`), becomes
    null (`unmatched: null`) or the `default`. Columns of text, integers and booleans can be mapped; text is compared
    exactly, with its case and spaces.
    """

    verb = "code_map"
    title: ClassVar[Mapping[str, str]] = {"zh": "代码映射", "en": "Map codes"}
    wraps = "columns"

    columns: dict[str, CodeMap] = titled("字段与对照", "Column and map", min_length=1)
    """Each column with its map."""

    def bound(self, surroundings: Place) -> CodeMapping:
        made = {name: _bound(entry, surroundings, name) for name, entry in self.columns.items()}
        return self.model_copy(update={"columns": made})

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, list(self.columns))
        fields: dict[str, pa.Field[Any]] = {field.name: field for field in dataset.schema}
        for name, entry in self.columns.items():
            self._pairs(dataset)
            made = recast(dataset.schema.field(name), *typed_as(self._kind(entry, dataset, name)))
            fields[entry.into or name] = made.with_name(entry.into or name)
        changed = {entry.into or name for name, entry in self.columns.items()}
        return reshaped(dataset, list(fields.values()), {c: c for c in dataset.columns if c not in changed})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        return made | {entry.into or name: {(0, name)} for name, entry in self.columns.items()}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        changed = {entry.into or name for name, entry in self.columns.items()}
        return {c: (0, c) for c in inputs[0].columns if c not in changed}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, name) for name in self.columns}

    def projection(self, dataset: Dataset) -> Projection | None:
        if self._long:
            return None
        trees = {c: column(c) for c in dataset.columns}
        for name, (entry, pairs) in self._pairs(dataset).items():
            kind = self._kind(entry, dataset, name)
            trees[entry.into or name] = cast(case(name, pairs, self._rest(entry, name, kind), None), kind)
        return Projection(trees)

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        from sqlglot import exp

        found: list[Fault] = []
        for name, (entry, pairs) in self._pairs(dataset).items():
            if entry.quarantines and not self._long:
                there = exp.Not(this=exp.Is(this=column(name), expression=exp.Null()))
                found.append(_unmatched(name, exp.and_(there, exp.Not(this=exp.Paren(this=known(name, pairs))))))
        return found

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def treat(self, table: pa.Table, dataset: Dataset) -> Treated:
        """The same by hash look-ups, for long maps."""
        import pyarrow.compute as pc

        after = self.output([dataset]).schema
        codes: Any = pa.repeat(pa.scalar(0, pa.int16()), table.num_rows)
        faults: dict[int, Fault] = {}
        made = {c: table.column(c) for c in table.column_names}
        for name, (entry, pairs) in self._pairs(dataset).items():
            kind = after.field(entry.into or name).type
            old = pa.array(list(pairs), table.column(name).type)
            new = pa.array(converted(list(pairs.values()), kind, "the result"), kind)
            values = table.column(name).combine_chunks()
            found, matched = looked_up(values, old, new)
            empty = pc.and_(pc.is_null(values), pc.invert(matched))
            if entry.quarantines:
                faults[len(faults) + 1] = _unmatched(name, literal(True))
                missing = pc.and_(pc.invert(pc.or_(matched, empty)), pc.equal(codes, pa.scalar(0, pa.int16())))
                codes = pc.if_else(missing, pa.scalar(len(faults), pa.int16()), codes)
            elif entry.defaults:
                (default,) = converted([entry.default], kind, "the default")
                found = pc.if_else(pc.or_(matched, empty), found, pa.scalar(default, kind))
            elif entry.unmatched == "keep":
                found = pc.if_else(matched, found, pc.cast(values, kind))
            made[entry.into or name] = found
        return Treated(pa.table(made, schema=after), codes, faults)

    @property
    def _long(self) -> bool:
        return any(len(entry.map or ()) > _SHORT for entry in self.columns.values())

    def _pairs(self, dataset: Dataset) -> dict[str, tuple[CodeMap, dict[Any, Any]]]:
        """Each column's map with its values in the column's type."""
        found = {}
        for name, entry in self.columns.items():
            kind = dataset.schema.field(name).type
            text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
                hint = f"cast it before: cast: {{{name}: varchar}}"
                raise InvalidPlanError(f"{name!r} is {kind}; codes are text, integers or booleans", hint=hint)
            pairs = entry.map or {}
            old = converted(list(pairs), kind, f"the code of {name!r}:")
            if len(set(old)) != len(old):
                twice = next(value for value in old if old.count(value) > 1)
                raise InvalidPlanError(f"the map of {name!r} has {twice!r} twice")
            found[name] = (entry, dict(zip(old, pairs.values(), strict=True)))
        return found

    def _kind(self, entry: CodeMap, dataset: Dataset, name: str) -> str:
        values = [*(entry.map or {}).values(), *([entry.default] if entry.defaults else [])]
        kind = entry.type or result_type(values)
        if entry.unmatched == "keep" and not entry.defaults:
            source, (wanted, _) = dataset.schema.field(name).type, typed_as(kind)
            same = pa.types.is_integer(source) and pa.types.is_int64(wanted)
            if not (pa.types.is_string(wanted) or same or source == wanted):
                hint = "give `type: varchar`, or another `unmatched`"
                raise InvalidPlanError(f"values of {name!r} ({source}) cannot be kept as {kind}", hint=hint)
        converted(values, typed_as(kind)[0], f"the result for {name!r}:")
        return kind

    def _rest(self, entry: CodeMap, name: str, kind: str) -> exp.Expr:
        from sqlglot import exp

        if entry.defaults:
            null = exp.Is(this=column(name), expression=exp.Null())
            return exp.Case().when(null, exp.Null(), copy=False).else_(cast(literal(entry.default), kind), copy=False)
        return cast(column(name), kind) if entry.unmatched == "keep" else exp.Null()


def _unmatched(name: str, condition: exp.Expr) -> Fault:
    return Fault("code_map.unmatched", name, condition, "is not in the code map")


def _bound(entry: CodeMap, place: Place, name: str) -> CodeMap:
    where = f"{place.path}.{name}"
    if entry.file is not None:
        folder = Path(place.folder).resolve()
        file = (folder / entry.file).resolve()
        if not file.is_relative_to(folder):
            raise InvalidPlanError(f"the code map {entry.file!r} is not inside the project's folder", path=where)
        try:
            pairs = read_codes(file.read_text(encoding="utf-8"), entry.file)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(f"the code map {entry.file!r} cannot be read: {why}", path=where) from error
        except ConfigError as error:
            error.path = where
            raise
        return entry.model_copy(update={"map": pairs})
    if entry.codes is not None:
        dataset, _, field = entry.codes.partition(".")
        fields = place.dictionary.get(dataset, {}).get("fields") or {}
        codes = (fields.get(field) or {}).get("codes")
        if not isinstance(codes, Mapping):
            lists = [f"{d}.{f}" for d, e in place.dictionary.items() for f, v in (e.get("fields") or {}).items()
                     if isinstance(v, Mapping) and v.get("codes")]  # fmt: skip
            hint = f"code lists: {', '.join(lists) or 'none'}"
            raise UnknownNameError(f"the dictionary has no code list {entry.codes!r}", path=where, hint=hint)
        return entry.model_copy(update={"map": dict(codes)})
    return entry


operator = CodeMapping
