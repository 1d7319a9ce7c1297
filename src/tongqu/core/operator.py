"""The seam for steps: what an operator promises, and how a step of a project file becomes one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tongqu.core.arrow import pa
from tongqu.core.columns import nearest
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.core.history import History
from tongqu.core.settings import Settings
from tongqu.core.treatment import Repair, Treated

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
class Expansion:
    """A step that makes any number of rows of each row of its first input, chunk by chunk, as one DuckDB SELECT.

    `sql` reads the first input, a chunk that also has the column `_tongqu_row`, and the other inputs whole, as
    `Operator.side` keeps them; behind these the relations name a table of one row for each, whose `read_at` is when it
    began to be read. It gives the output columns in order, then `_tongqu_row` of the row each row was made of, then
    `_tongqu_fault`: 0, or the number in `faults` for which that row is refused (its other columns do not matter). Rows
    made of one row stand in the order of the SQL terms `order`.
    """

    sql: str
    faults: Mapping[int, Fault] = field(default_factory=dict)
    order: str = ""
    prepare: Callable[[pa.Table], pa.Table] | None = None
    """Arrow in, Arrow out, before the SQL: the chunk with further columns, its own unchanged."""


@dataclass(frozen=True)
class Place:
    """Where a step stands: what its references mean there. `dictionary` maps dataset names to their entries."""

    path: str = ""
    dictionary: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: str = "."
    inputs: tuple[str, ...] = ()


class Operator(Settings):
    """A verb with its settings. Pure: knows schemas, gives SQL or a function, holds no rows and no connections.

    A subclass gives `output`, `lineage`, `reads` and exactly one way to run: `projection` (row-wise SQL), `expansion`
    (row-wise SQL, several rows a row), `sql` (whole-input SQL) or `apply` (Python). `row_wise` promises that the result
    for a chunk does not depend on other chunks; an instance may know better in `chunk_safe`.
    """

    verb: ClassVar[str] = ""
    title: ClassVar[Mapping[str, str]] = {}
    row_wise: ClassVar[bool] = True
    arity: ClassVar[tuple[int, int]] = (1, 1)
    """Least and most number of inputs."""
    missing_rows: ClassVar[str] = "generated"
    """How rows count that go in and do not come out of a whole-input step: as `generated` (negative), `filtered` or
    `deduplicated`."""
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

    @property
    def side_names(self) -> tuple[str, ...]:
        """Inputs beside the one it follows, which it reads whole (`lookup: {in: materials}`)."""
        return ()

    @property
    def told(self) -> str:
        """An output column of a whole-input step whose values the run counts one by one (the marks of `compare`)."""
        return ""

    @property
    def side_freshness(self) -> tuple[float | None, float]:
        """Where rows are looked up as they come: after how many seconds what is looked up is read anew (None: never),
        and how many seconds a row waits for what it does not find there (see `absent`)."""
        return None, 0.0

    @property
    def notes(self) -> Sequence[str]:
        """What `plan` shows of the step, each a sentence that goes on after its name."""
        return ()

    @property
    def side_history(self) -> History | None:
        """Where what is looked up is kept with its history, and rows are looked up as of their own time."""
        return None

    def needs_all(self, number: int) -> bool:
        """Whether the result is wrong unless this input gives all its rows, not only changes."""
        return number > 0 and bool(self.side_names) if self.chunk_safe else True

    @property
    def leaves_rows(self) -> bool:
        """Whether a changed row may make fewer or other rows than it did before, so that old ones would stay in a
        target that is written by key."""
        return False

    def bound(self, surroundings: Place) -> Operator:
        """The operator with its references (dictionary entries, files, names of inputs) resolved."""
        del surroundings
        return self

    def unlocked(self, resolve: Callable[[str], str]) -> Operator:
        """The operator with its references to secrets resolved; called just before a run, never when planning.

        Values are held where neither the settings' JSON nor `repr` shows them.
        """
        del resolve
        return self

    @property
    def references(self) -> Mapping[str, Any]:
        """Fields whose values must stand in another dataset, each with where: `connection`, `dataset`, `field`."""
        return {}

    def knowing(self, values: Mapping[str, pa.Array[Any]]) -> Operator:
        """The operator with the values that its references allow, by field; called just before a run."""
        del values
        return self

    def relations(self) -> Mapping[str, pa.Table]:
        """Tables that the conditions of `faults` look into, by the name they have there."""
        return {}

    @property
    def newest(self) -> str:
        """The date or timestamp field whose greatest value the step's counts tell; empty for none."""
        return ""

    def replayed(self) -> Operator:
        """The operator for a few rows that go in again after the others: without what only all rows can tell."""
        return self

    @property
    def branches(self) -> Mapping[str, Operator]:
        """For a step that is several steps side by side (`route`): each branch's name with its operator. Others take
        `id.branch`."""
        return {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """Branches whose rows nobody need take."""
        return ()

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        """The dataset that comes out. Raises UnknownNameError, ExpressionError or InvalidPlanError."""
        raise NotImplementedError(type(self).__name__)

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        """Which input columns each output column is made of."""
        raise NotImplementedError(type(self).__name__)

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        """Output columns that are unchanged copies of an input column, for steps without `projection`; it may miss
        some."""
        found = {}
        for name, origins in self.lineage(inputs).items():
            if len(origins) == 1:
                ((number, column),) = origins
                if column == name:
                    found[name] = (number, column)
        return found

    def matches(self, inputs: Sequence[Dataset]) -> Sequence[tuple[tuple[int, str], tuple[int, str]]]:
        """Pairs of input columns that are equal in the rows it brings together."""
        del inputs
        return ()

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

    def repairs(self, dataset: Dataset) -> Sequence[Repair]:
        """Cells that `projection` changes by rule, each with its reason; conditions see the input's columns."""
        del dataset
        return ()

    def cleaned(self, dataset: Dataset) -> Sequence[exp.Expr]:
        """Conditions (never null), one for each cell of which `projection` changes only the spelling."""
        del dataset
        return ()

    def surveys(self, dataset: Dataset) -> Sequence[Mapping[str, str]]:
        """What must be known about all rows before one can be treated: columns as DuckDB SQL (windows) over the rows,
        level by level; a level sees the input's columns (see `relation_names`) and those of levels before it. The trees
        of `projection`, `faults`, `repairs` and `cleaned` may name them. Not empty means not `chunk_safe`."""
        del dataset
        return ()

    def stages(self, dataset: Dataset) -> Sequence[Mapping[str, str]]:
        """As `surveys`, but each column is computed from its own row: names for parts of long trees."""
        del dataset
        return ()

    def may_fail(self, dataset: Dataset) -> bool:
        """Whether `projection` can raise for some rows (overflow, a failing cast inside an expression)."""
        del dataset
        return True

    def expansion(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion | None:
        """The step as a row-wise SELECT that may give several rows a row, or None if it is not one."""
        del relations, inputs
        return None

    def side(self, relation: str, dataset: Dataset) -> str:
        """The SELECT by which an input that is read whole is kept for `expansion`; it may drop what is not needed."""
        del dataset
        return f"SELECT * FROM {relation}"

    def absent(self, relation: str, side: str, inputs: Sequence[Dataset]) -> str:
        """The SELECT of the keys `k0 …`, each once, that rows of a chunk (the relation) do not find in a kept input."""
        del relation, side, inputs
        raise NotImplementedError(f"{self.verb} does not wait")

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        """One DuckDB SELECT over the relations (quoted names), with output columns as in `output`."""
        del relations, inputs
        raise NotImplementedError(f"{self.verb} has no SQL of its own")

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        """Arrow in, Arrow out, for operators without SQL."""
        del tables, inputs
        raise NotImplementedError(f"{self.verb} is SQL")

    def treat(self, table: pa.Table, dataset: Dataset) -> Treated:
        """As `apply`, for one chunk of one input, for operators that refuse single rows."""
        return Treated(self.apply([table], [dataset]))


@dataclass(frozen=True)
class Step:
    """An operator placed in a pipeline; `inputs` are names of sources or steps, none or "" = the step above."""

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
        raise UnknownNameError(f"unknown step {verb!r}", hint=nearest(verb, verbs(), "verbs"), params={"verb": verb})
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
    if made.side_names and (raw is None or isinstance(raw, str)):
        return (raw or "", *made.side_names)
    if made.side_names:
        raise InvalidSettingsError(f"{made.verb} follows one input (got {raw!r})", path=f"{path}.from")
    if raw is None:
        return ()
    if isinstance(raw, str):
        return (raw,)
    if isinstance(raw, Sequence) and raw and all(isinstance(name, str) for name in raw):
        return tuple(raw)
    raise InvalidSettingsError(f"`from` is a name or a list of names (got {raw!r})", path=f"{path}.from")


def _verb_hint() -> str:
    return f"verbs: {', '.join(verbs())}"
