"""The seam for steps: what an operator promises, and how a step of a project file becomes one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from tongqu.core.data import Dataset, ForeignKey, Index
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.settings import Settings

if TYPE_CHECKING:
    from sqlglot import exp

_PACKAGE = "tongqu.operators"
_STEP_KEYS = ("id", "from")

Lineage = dict[str, set[tuple[int, str]]]
"""For each output column the (input index, column) pairs its values come from."""


@dataclass(frozen=True)
class Projection:
    """A row-wise step as SQL trees over its input's columns: keep the rows where `where` is true, then compute
    `columns` in this order. A plain column is a bare `exp.Column`."""

    columns: Mapping[str, exp.Expr]
    where: exp.Expr | None = None


@dataclass(frozen=True)
class Fault:
    """One reason to refuse a row: `condition` is true (never null) for the rows that have it."""

    code: str
    field: str
    condition: exp.Expr
    message: str
    """What is wrong, after "`field` = `value` ": `is above 500`."""


@dataclass(frozen=True)
class Place:
    """Where a step stands: what its references mean there. `dictionary` maps dataset names to their entries."""

    path: str = ""
    dictionary: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: str = "."
    inputs: tuple[str, ...] = ()


class Operator(Settings):
    """A verb with its settings. Pure: knows schemas, gives SQL or a function, holds no rows and no connections.

    A subclass gives `output`, `lineage`, `reads` and exactly one way to run: `projection` (row-wise SQL), `sql`
    (whole-input SQL) or `apply` (Python). `row_wise` promises that the result for a chunk does not depend on other
    chunks; an instance may know better in `chunk_safe`.
    """

    verb: ClassVar[str] = ""
    title: ClassVar[Mapping[str, str]] = {}
    row_wise: ClassVar[bool] = True
    arity: ClassVar[tuple[int, int]] = (1, 1)
    """Least and most number of inputs."""
    wraps: ClassVar[str | None] = None
    """The one setting that the YAML value is, if the value is not the mapping of all settings."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Self:
        """Build from a step's YAML value in its short form; raises InvalidSettingsError naming `path`."""
        if cls.wraps is not None:
            return cls.parse({cls.wraps: raw}, path)
        if not isinstance(raw, Mapping):
            valid = ", ".join(cls.model_fields)
            raise InvalidSettingsError(f"{cls.verb} takes a mapping (got {raw!r})", path=path, hint=f"keys: {valid}")
        return cls.parse(raw, path)

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        """JSON Schema of the YAML value (the short form)."""
        schema = cls.model_json_schema()
        if cls.wraps is None:
            return schema
        inner: dict[str, Any] = {**schema["properties"][cls.wraps], "description": schema.get("description", "")}
        return {**inner, "$defs": schema["$defs"]} if "$defs" in schema else inner

    @property
    def chunk_safe(self) -> bool:
        """Whether chunks can be processed one by one."""
        return self.row_wise

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs that the settings themselves name (`join: {left, right}`)."""
        return ()

    def bound(self, surroundings: Place) -> Operator:
        """The operator with its references (dictionary entries, files, names of inputs) resolved."""
        del surroundings
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        """The dataset that comes out. Raises UnknownNameError, ExpressionError or InvalidPlanError."""
        raise NotImplementedError(type(self).__name__)

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        """Which input columns each output column is made of."""
        raise NotImplementedError(type(self).__name__)

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        """The input columns it looks at to decide or compute anything (columns merely passed on do not count)."""
        raise NotImplementedError(type(self).__name__)

    def projection(self, dataset: Dataset) -> Projection | None:
        """The step as projection and filter, or None if it is not one."""
        del dataset
        return None

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        """Reasons to quarantine input rows, in order of precedence; such rows never reach `projection`."""
        del dataset
        return ()

    def may_fail(self, dataset: Dataset) -> bool:
        """Whether `projection` can raise for some rows (overflow, a failing cast inside an expression)."""
        del dataset
        return True

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        """One DuckDB SELECT over the relations (quoted names), with output columns as in `output`."""
        del relations, inputs
        raise NotImplementedError(f"{self.verb} has no SQL of its own")

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        """Arrow in, Arrow out, for operators without SQL."""
        del tables, inputs
        raise NotImplementedError(f"{self.verb} is SQL")


@dataclass(frozen=True)
class Step:
    """An operator placed in a pipeline; `inputs` are names of sources or steps, empty = the step above."""

    id: str
    verb: str
    operator: Operator
    inputs: tuple[str, ...]
    path: str


@cache
def verbs() -> tuple[str, ...]:
    """All verbs: the files of `tongqu.operators`."""
    package = importlib.import_module(_PACKAGE)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


@cache
def operator(verb: str) -> type[Operator]:
    """The operator class of a verb; imported on first use. Raises UnknownNameError listing the verbs."""
    if verb not in verbs():
        raise UnknownNameError(f"unknown step {verb!r}", hint=_nearest(verb, verbs(), "verbs"), params={"verb": verb})
    found = importlib.import_module(f"{_PACKAGE}.{verb}").operator
    assert isinstance(found, type) and issubclass(found, Operator), verb  # noqa: S101
    return found


def parse_step(
    raw: Mapping[str, Any],
    path: str,
    dictionary: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    folder: str = ".",
    default_id: str = "",
) -> Step:
    """One entry of `steps:`: exactly one verb, optionally `id` and `from` (a name or list of names).

    `dictionary` maps dataset names to their `datasets:` entries, for `check: name`; `folder` is what relative files
    are relative to. Without `id` the step is called `default_id`, else its verb.
    """
    if not isinstance(raw, Mapping):
        raise InvalidSettingsError(f"a step is a mapping with one verb (got {raw!r})", path=path, hint=_verb_hint())
    found = [key for key in raw if key not in _STEP_KEYS]
    if len(found) != 1:
        shown = ", ".join(map(repr, found)) or "none"
        raise InvalidSettingsError(f"a step has exactly one verb (got {shown})", path=path, hint=_verb_hint())
    verb = str(found[0])
    full = f"{path}.{verb}" if path else verb
    try:
        kind = operator(verb)
    except UnknownNameError as error:
        error.path = full
        raise
    made = kind.from_yaml(raw[verb], full)
    inputs = _inputs(raw.get("from"), made, path)
    placed = made.bound(Place(full, dictionary or {}, folder, inputs))
    return Step(str(raw.get("id") or default_id or verb), verb, placed, inputs, full)


def _inputs(raw: Any, made: Operator, path: str) -> tuple[str, ...]:
    if made.input_names:
        if raw is not None:
            raise InvalidSettingsError(f"{made.verb} names its inputs itself", path=f"{path}.from", hint="drop `from`")
        return made.input_names
    if raw is None:
        return ()
    if isinstance(raw, str):
        return (raw,)
    if isinstance(raw, Sequence) and raw and all(isinstance(name, str) for name in raw):
        return tuple(raw)
    raise InvalidSettingsError(f"`from` is a name or a list of names (got {raw!r})", path=f"{path}.from")


def _verb_hint() -> str:
    return f"verbs: {', '.join(verbs())}"


def _nearest(name: str, valid: Sequence[str], what: str) -> str:
    close = get_close_matches(name, valid, n=1) or get_close_matches(name.lower(), [v.lower() for v in valid], n=1)
    guess = next((v for v in valid if close and v.lower() == close[0].lower()), "")
    listing = f"valid {what}: {', '.join(valid) or 'none'}"
    return f"did you mean {guess!r}? {listing}" if guess else listing


def unknown_column(name: str, dataset: Dataset, path: str = "") -> UnknownNameError:
    """The error for a column that is not there, with the valid ones and the nearest."""
    return UnknownNameError(
        f"dataset {dataset.name!r} has no column {name!r}",
        hint=_nearest(name, dataset.columns, "columns"),
        path=path,
        params={"column": name, "dataset": dataset.name, "valid": ", ".join(dataset.columns)},
    )


def need_columns(dataset: Dataset, names: Sequence[str]) -> None:
    """Raise UnknownNameError for the first name that is not a column (exact spelling)."""
    present = set(dataset.columns)
    for name in names:
        if name not in present:
            raise unknown_column(name, dataset)


def no_duplicates(names: Sequence[str], verb: str) -> None:
    """Raise InvalidPlanError if a name comes twice among output columns."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidPlanError(f"{verb} would give two columns named {name!r}", hint="rename one of them")
        seen.add(name)


def reshaped(dataset: Dataset, fields: Sequence[pa.Field[Any]], origin: Mapping[str, str]) -> Dataset:
    """The dataset with new fields; `origin` maps output columns to the input columns they are exact copies of.

    Key, cursor, indexes and foreign keys follow their columns and are dropped when one of theirs is gone.
    """
    moved: dict[str, str] = {}
    for new, old in origin.items():
        if old not in moved or new == old:
            moved[old] = new

    def follow(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(moved[n] for n in names) if all(n in moved for n in names) else ()

    indexes = tuple(Index(follow(i.columns), i.unique, i.name) for i in dataset.indexes if follow(i.columns))
    foreign = tuple(
        ForeignKey(follow(f.columns), f.target, f.target_columns) for f in dataset.foreign_keys if follow(f.columns)
    )
    return replace(
        dataset,
        schema=pa.schema(list(fields)),
        key=follow(dataset.key),
        cursor=moved.get(dataset.cursor) if dataset.cursor else None,
        indexes=indexes,
        foreign_keys=foreign,
    )
