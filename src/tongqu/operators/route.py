"""Send rows to several sinks or steps by condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError, InvalidSettingsError
from tongqu.core.operator import Lineage, Operator, Place, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column, parsed, predicate

_SETTINGS = ("otherwise", "match", "drop")


class Branch(Operator):
    """The rows of one branch of a route."""

    verb = "route"
    title: ClassVar[Mapping[str, str]] = {"zh": "分流", "en": "Route"}

    condition: str = titled("条件", "Condition")
    """Rows for which it is true."""
    own: str = titled("原条件", "Own condition")
    """The branch's condition alone, which errors name."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        predicate(self.own, dataset.schema)
        predicate(self.condition, dataset.schema)
        return dataset

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in predicate(self.condition, inputs[0].schema).columns}

    @property
    def leaves_rows(self) -> bool:
        return True  # a changed row may belong to another branch by now

    def projection(self, dataset: Dataset) -> Projection:
        made = predicate(self.condition, dataset.schema)
        return Projection({c: column(c) for c in dataset.columns}, made.tree)


class Route(Operator):
    """Send rows to branches by condition: `route: {big: "qty > 100", small: "qty <= 100", otherwise: rest}`. Sinks and
    steps take a branch by `from: route.big` (the step's id and the branch).

    A row goes to the first branch whose condition is true, or with `match: all` to each of them; an unknown (null)
    condition is not true. Rows without a branch go to the branch named by `otherwise`; without it they count as
    filtered. Each branch is a step of its own in the counts: its rows, and the others as filtered. A branch that
    nobody takes is refused when planning, unless `drop` names it. A column of the conditions is needed, not changed.

    Over changes (`mode: incremental`) it is refused unless the sink appends: a changed row would go to another branch
    and stay in the target of its old one. In one run all branches see a source at the same instant where it can give
    one (a PostgreSQL primary). Elsewhere each sink reads for itself: a row that changes branch between two of these
    reads may reach both sinks or none, until the next full run; `tongqu plan` says so.
    """

    verb = "route"
    title: ClassVar[Mapping[str, str]] = {"zh": "分流", "en": "Route rows"}

    conditions: dict[str, str] = titled("分支与条件", "Branch and condition", min_length=1)
    """Each branch's name with its condition, in order."""
    otherwise: str | None = titled("其余", "Otherwise", None, pattern=r"^\w+$")
    """The branch for rows that match none."""
    match: Literal["first", "all"] = titled("匹配方式", "Match", "first")
    """Whether a row goes to the `first` branch that matches or to `all`."""
    drop: tuple[str, ...] = titled("可弃分支", "Dropped branches", ())
    """Branches whose rows nobody need take."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Route:
        if not isinstance(raw, Mapping):
            hint = 'route: {big: "qty > 100", otherwise: rest}'
            raise InvalidSettingsError(f"route takes branches with conditions (got {raw!r})", path=path, hint=hint)
        conditions = {str(name): str(text) for name, text in raw.items() if name not in _SETTINGS}
        for name in conditions:
            if not name.replace("_", "a").isalnum():
                hint = "letters, digits and _ only"
                raise InvalidSettingsError(f"{name!r} cannot name a branch", path=f"{path}.{name}", hint=hint)
        own = {name: raw[name] for name in _SETTINGS if name in raw}
        return cls.parse({"conditions": conditions, **own}, path)

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = cls.model_json_schema()
        settings = {name: schema["properties"][name] for name in _SETTINGS}
        return {
            "type": "object",
            "description": schema["description"],
            "properties": settings,
            "additionalProperties": {"type": "string", "description": "The branch's condition."},
        }

    def bound(self, surroundings: Place) -> Route:
        for name, text in self.conditions.items():
            try:
                parsed(text)
            except ExpressionError as error:
                error.path = f"{surroundings.path}.{name}"
                raise
        if self.otherwise in self.conditions:
            where = f"{surroundings.path}.otherwise"
            raise InvalidPlanError(f"{self.otherwise!r} is already a branch with a condition", path=where)
        for name in self.drop:
            if name not in self._names:
                where, hint = f"{surroundings.path}.drop", f"branches: {', '.join(self._names)}"
                raise InvalidPlanError(f"there is no branch {name!r} to drop", path=where, hint=hint)
        return self

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.conditions, *((self.otherwise,) if self.otherwise else ()))

    @property
    def branches(self) -> Mapping[str, Operator]:
        made: dict[str, Operator] = {}
        before: list[str] = []
        for name, text in self.conditions.items():
            own = f"(({text}) is true)"
            earlier = [f"(not {other})" for other in before] if self.match == "first" else []
            made[name] = Branch(condition=" and ".join([own, *earlier]), own=text)
            before.append(own)
        if self.otherwise:
            rest = " and ".join(f"(not {other})" for other in before)
            made[self.otherwise] = Branch(condition=rest, own=rest)
        return made

    @property
    def dropped(self) -> tuple[str, ...]:
        return self.drop

    @property
    def leaves_rows(self) -> bool:
        return True

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        for branch in self.branches.values():
            branch.output(inputs)
        return inputs[0]

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return set().union(*(branch.reads(inputs) for branch in self.branches.values()))


operator = Route
