"""Group rows and compute measures of each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.columns import need_columns, no_duplicates
from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidSettingsError
from tongqu.core.operator import Fault, Lineage, Operator, Place
from tongqu.core.settings import titled
from tongqu.meaning.event_time import END, START, EventWindow
from tongqu.meaning.expressions import Typed, column, parsed, render, typed
from tongqu.meaning.sandbox import quoted, relation_names


class Aggregate(Operator):
    """One row a group: `aggregate: {by: [line_id, day], rate: "avg(passed::int)"}`; without `by` one row in all.

    Every other key is a measure: an expression of aggregate functions. Nulls form a group of their own. With
    `window: {on: ts, size: 1m}` rows are grouped by windows of event time too, whose columns `window_start` and
    `window_end` come first (`hop` makes them overlap, `gap` makes sessions); a row without an instant is refused as
    `window.no_time`. While changes are followed it keeps what it needs, see `docs/streaming.md`.
    """

    verb = "aggregate"
    title: ClassVar[Mapping[str, str]] = {"zh": "汇总", "en": "Aggregate"}
    row_wise = False

    by: tuple[str, ...] = titled("分组字段", "Group by", ())
    """Columns that make a group."""
    measures: dict[str, str] = titled("指标", "Measures", default_factory=dict)
    """Each measure's name with its expression."""
    window: EventWindow | None = titled("事件时间窗口", "Window", None)
    """Windows of event time that rows are grouped by."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Aggregate:
        if not isinstance(raw, Mapping) or not raw:
            raise InvalidSettingsError(f"aggregate takes `by` and measures (got {raw!r})", path=path)
        by = raw.get("by", ())
        window = raw.get("window") if isinstance(raw.get("window"), Mapping) else None
        own = ("by", "window") if window is not None else ("by",)
        measures = {str(name): text for name, text in raw.items() if name not in own}
        asked = {"by": [by] if isinstance(by, str) else by, "measures": measures}
        return cls.parse({**asked, "window": window} if window is not None else asked, path)

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = cls.model_json_schema()
        return {
            "type": "object",
            "description": schema["description"],
            "properties": {
                "by": schema["properties"]["by"],
                "window": {"anyOf": [{"$ref": "#/$defs/EventWindow"}, {"type": "string"}]},
            },
            "additionalProperties": {"type": "string"},
            "$defs": schema["$defs"],
        }

    def bound(self, surroundings: Place) -> Aggregate:
        for text in self.measures.values():
            parsed(text, aggregate=True)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, self.by)
        windows = self.window.fields(dataset) if self.window else []
        if self._late:
            no_duplicates([START, END, *dataset.columns], self.verb)
            return Dataset(dataset.name, pa.schema([*windows, *dataset.schema]))
        no_duplicates([*(f.name for f in windows), *self.by, *self.measures], self.verb)
        if not self.by and not self.measures:
            raise InvalidSettingsError("aggregate needs `by` or a measure")
        fields: list[pa.Field[Any]] = [*windows, *(dataset.schema.field(c).with_nullable(True) for c in self.by)]
        fields += [made.field(name) for name, made in self._typed(dataset).items()]
        return Dataset(dataset.name, pa.schema(fields), key=(START, *self.by) if self.window else self.by)

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        if self.window is None or self._late:
            return ()
        from sqlglot import exp

        none = exp.Is(this=column(self.window.on), expression=exp.Null())
        return (Fault("window.no_time", self.window.on, none, "is no instant, and windows need one"),)

    @property
    def _late(self) -> bool:
        """Whether it gives the rows that came too late instead of windows."""
        return self.window is not None and self.window.emit == "late"

    @property
    def within(self) -> Aggregate:
        """The same measures over rows that have the columns of their window already."""
        return self.model_copy(update={"by": (START, END, *self.by), "window": None})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, self.window.on)} for c in (START, END)} if self.window else {}
        if self._late:
            return made | {c: {(0, c)} for c in inputs[0].columns}
        made |= {c: {(0, c)} for c in self.by}
        return made | {name: {(0, c) for c in e.columns} for name, e in self._typed(inputs[0]).items()}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in (inputs[0].columns if self._late else self.by)}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        if self._late:
            return {(0, c) for c in inputs[0].columns}
        on = {(0, self.window.on)} if self.window else set()
        return on | {(0, c) for c in self.by} | {(0, c) for e in self._typed(inputs[0]).values() for c in e.columns}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        names = relation_names(inputs[0].columns)
        if self._late:  # where all rows are read, none is late
            return f"SELECT {self._none(inputs[0])}, * FROM {relations[0]} WHERE false"
        out = relation_names([*self.by, *self.measures])
        items = [f"{quoted(names[c])} AS {quoted(out[c])}" for c in self.by]
        items += [f"{render(e.tree, names)} AS {quoted(out[name])}" for name, e in self._typed(inputs[0]).items()]
        by = [quoted(names[c]) for c in self.by]
        relation = relations[0]
        if self.window:
            zoned = inputs[0].schema.field(self.window.on).type.tz is not None
            relation = f"({self.window.sql(relation, quoted(names[self.window.on]), by, zoned)})"
            items, by = [START, END, *items], [START, END, *by]
        return f"SELECT {', '.join(items)} FROM {relation}" + (f" GROUP BY {', '.join(by)}" if by else "")

    def _none(self, dataset: Dataset) -> str:
        assert self.window is not None  # noqa: S101  # asked for only then
        zoned = dataset.schema.field(self.window.on).type.tz is not None
        kind = "TIMESTAMPTZ" if zoned else "TIMESTAMP"
        return f"CAST(NULL AS {kind}) AS {START}, CAST(NULL AS {kind}) AS {END}"

    def _typed(self, dataset: Dataset) -> dict[str, Typed]:
        from sqlglot import exp

        made = {name: typed(text, dataset.schema, aggregate=True) for name, text in self.measures.items()}
        for name, measure in made.items():
            if measure.tree.find(exp.AggFunc) is None:
                raise ExpressionError(
                    f"the measure {name!r} has no aggregate: {measure.text}", hint="`max(…)`, `count(*)`"
                )
        return made


operator = Aggregate
