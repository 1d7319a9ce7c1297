"""Bring columns of another dataset to each row, by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Expansion, Fault, Lineage, Operator
from tongqu.core.settings import Names, Pairs, titled
from tongqu.meaning.event_time import micros
from tongqu.meaning.expressions import column
from tongqu.meaning.joint import comparable
from tongqu.meaning.ordering import order_sql, terms
from tongqu.meaning.sandbox import only_one, quoted, relation_names

_MISSING, _MANY = 1, 2
_LONGEST_WAIT = 300_000_000
_INSTANT = pa.timestamp("us", tz="UTC")


class Lookup(Operator):
    """Bring columns of another dataset to each row: the row's key is looked up there.

    ```yaml
    - from: inspection                 # needed where the pipeline has several sources and this is the first step
      lookup:
        in: materials                  # a source or step, read whole
        on: {material_no: code}        # column here: column there; `on: code` if both are called that
        fields: {material: name, unit: unit}
        missing: quarantine            # null | quarantine | drop
        many: first                    # error | quarantine | first | all
        order: [-valid_from]
    ```

    Rows keep their order. A null key matches nothing. `missing` says what happens to a row without a match: the fields
    are null (the default), the row goes to quarantine as `lookup.missing`, or it is dropped and counts as filtered.
    `many` says what a key means that comes twice there: the run stops when a row meets it (data.duplicate, the
    default), that row goes to quarantine as `lookup.many`, the first match in `order` is taken, or the row comes once
    for each match. The step is row by row in the rows it follows, so these may be changes (`mode: incremental`), while
    the dataset that is looked up is always read in full, when the run begins or goes on; it is kept in DuckDB, on disk
    where it is larger than the memory, and its rows do not count as the step's. Rows written before it changed
    stay as they are. `many: all` over changes is refused unless the sink appends: a changed row could leave matches it
    no longer has.

    Where a log is followed (`mode: cdc` or `stream`), what is looked up may change meanwhile, and rows are looked up as
    of the moment at which they are processed:

    ```yaml
    - lookup:
        in: prices
        on: {item: code}
        fields: {price: price}
        refresh: 30s                   # read anew before rows are looked up in what was read longer ago
        wait: 10s                      # a key that is not there may be so much later than the row; then `missing`
        as_of: price_as_of             # a new column: when what was looked up began to be read
    ```

    Where that dataset is itself a source with `mode: cdc` a copy of it follows its own log instead, and rows see
    everything that was committed there before they are processed, or up to `refresh` before.

    It is read anew when rows come, not while nothing does; while it cannot be read the pipeline waits and tries again.
    Rows with a key that is missing wait, and those behind them in the log too, while it is read again and again. A key
    that came too late is not waited for again within ten times that time. A read of all rows reads it once.
    """

    verb = "lookup"
    title: ClassVar[Mapping[str, str]] = {"zh": "查找", "en": "Look up"}
    arity = (2, 2)

    within: str = Field(alias="in", title="In", json_schema_extra={"x-i18n": {"zh": "查找数据集", "en": "In"}})
    """The source or step that is looked up."""
    on: Pairs = titled("键", "Keys", min_length=1)
    """Column here with column there."""
    fields: Pairs = titled("取回字段", "Fields", min_length=1)
    """New column with the column there."""
    missing: Literal["null", "quarantine", "drop"] = titled("无匹配时", "Missing", "null")
    """What happens to a row without a match."""
    many: Literal["error", "quarantine", "first", "all"] = titled("多匹配时", "Many", "error")
    """What happens to a row with several matches."""
    order: Names = titled("排序字段", "Order", ())
    """Columns there that say which match is the first; without them the order in which it is read."""
    refresh: str = titled("刷新间隔", "Refresh", "")
    """Where a log is followed: no row is looked up in what was read longer ago than this (30s, 5m, 1h)."""
    wait: str = titled("等待匹配", "Wait", "")
    """Where a log is followed: how long a row waits for a match to appear (500ms, 10s; 5m at most)."""
    as_of: str = titled("版本时间字段", "As of", "")
    """A new column with the instant at which what was looked up began to be read."""

    @field_validator("refresh", "wait")
    @classmethod
    def _span(cls, value: str) -> str:
        if value and not micros(value):
            raise ValueError("must be longer than nothing; leave it out instead")
        return value

    @field_validator("wait")
    @classmethod
    def _bounded(cls, value: str) -> str:
        if value and micros(value) > _LONGEST_WAIT:
            raise ValueError("is 5m at most: rows behind wait too; use `missing: quarantine` and replay for longer")
        return value

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not set, so that the digests of older pipelines stay as they are."""
        told: dict[str, Any] = handler(self)
        return {k: v for k, v in told.items() if v or k not in ("refresh", "wait", "as_of")}

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Lookup:
        if isinstance(raw, Mapping) and raw.get("missing", "") is None:  # YAML reads a bare null as nothing
            raw = {**raw, "missing": "null"}
        return super().from_yaml(raw, path)

    @property
    def side_names(self) -> tuple[str, ...]:
        return (self.within,)

    @property
    def leaves_rows(self) -> bool:
        return self.many == "all"

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        main, other = inputs
        need_columns(main, list(self.on))
        need_columns(other, [*self.on.values(), *self.fields.values()])
        terms(self.order, other)
        if self.order and self.many not in ("first", "all"):
            raise InvalidPlanError("`order` chooses among several matches", hint="add `many: first`, or drop `order`")
        for mine, theirs in self.on.items():
            first, second = main.schema.field(mine).type, other.schema.field(theirs).type
            if comparable(first) != comparable(second):
                raise InvalidPlanError(
                    f"the keys {mine!r} ({first}) and {theirs!r} ({second}) are of different kinds", hint="cast one"
                )
        no_duplicates([*main.columns, *self.fields, *self._versions], self.verb)
        added = [other.schema.field(old).with_name(new).with_nullable(True) for new, old in self.fields.items()]
        added += [pa.field(name, _INSTANT, nullable=False) for name in self._versions]
        made = reshaped(main, [*main.schema, *added], {c: c for c in main.columns})
        return made if self.many != "all" else made.bound(made.name, ())

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        return made | {new: {(1, old)} for new, old in self.fields.items()} | {name: set() for name in self._versions}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns} | {new: (1, old) for new, old in self.fields.items()}

    def matches(self, inputs: Sequence[Dataset]) -> Sequence[tuple[tuple[int, str], tuple[int, str]]]:
        return [((0, mine), (1, theirs)) for mine, theirs in self.on.items()]

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        chosen = {(1, c) for c, _ in terms(self.order, inputs[1])}
        return {(0, c) for c in self.on} | {(1, c) for c in self.on.values()} | chosen

    def side(self, relation: str, dataset: Dataset) -> str:
        """Keys `k0 …`, fields `f0 …`, how many rows share the key, and the rank among them; null keys are left out."""
        names = relation_names(dataset.columns)
        keys = [quoted(names[c]) for c in self.on.values()]
        items = [f"{key} AS k{n}" for n, key in enumerate(keys)]
        items += [f"{quoted(names[c])} AS f{n}" for n, c in enumerate(self.fields.values())]
        by = f"PARTITION BY {', '.join(keys)}"
        order = ", ".join([*order_sql(terms(self.order, dataset), names), "_tongqu_row"])
        items += [f"count(*) OVER ({by}) AS many", f"row_number() OVER ({by} ORDER BY {order}) AS _tongqu_place"]
        where = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        numbered = f"SELECT *, row_number() OVER () AS _tongqu_row FROM {relation}"
        found = f"SELECT {', '.join(items)} FROM ({numbered}) WHERE {where}"
        return found if self.many == "all" else f"SELECT * FROM ({found}) WHERE _tongqu_place = 1"

    @property
    def side_freshness(self) -> tuple[float | None, float]:
        return (micros(self.refresh) / 1e6 if self.refresh else None, micros(self.wait) / 1e6 if self.wait else 0.0)

    def absent(self, relation: str, side: str, inputs: Sequence[Dataset]) -> str:
        names = relation_names(inputs[0].columns)
        keys = [f"i.{quoted(names[c])}" for c in self.on]
        known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        match = " AND ".join(f"{key} = s.k{n}" for n, key in enumerate(keys))
        items = ", ".join(f"{key} AS k{n}" for n, key in enumerate(keys))
        return (
            f"SELECT DISTINCT {items} FROM {relation} AS i "
            f"WHERE {known} AND NOT EXISTS (SELECT 1 FROM {side} AS s WHERE {match})"
        )

    @property
    def _versions(self) -> tuple[str, ...]:
        return (self.as_of,) if self.as_of else ()

    def expansion(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion:
        main, _ = inputs
        names = relation_names(main.columns)
        out = relation_names([*main.columns, *self.fields, *self._versions])
        items = [f"i.{quoted(names[c])} AS {quoted(out[c])}" for c in main.columns]
        items += [f"s.f{n} AS {quoted(out[new])}" for n, new in enumerate(self.fields)]
        items += [f"(SELECT read_at FROM {relations[2]}) AS {quoted(out[name])}" for name in self._versions]
        first = next(iter(self.on))
        fault = "0"
        if self.missing == "quarantine":
            fault = f"CASE WHEN s.many IS NULL THEN {_MISSING} ELSE 0 END"
        if self.many == "quarantine":
            fault = f"CASE WHEN s.many > 1 THEN {_MANY} ELSE {fault} END"
        if self.many == "error":
            what = f"in {self.within!r} the key {', '.join(self.on.values())} ="
            fault = f"({fault}) + {only_one('s.many > 1', what, self._shown(names))}"
        match = " AND ".join(f"i.{quoted(names[c])} = s.k{n}" for n, c in enumerate(self.on))
        how = "JOIN" if self.missing == "drop" else "LEFT JOIN"
        return Expansion(
            f"SELECT {', '.join(items)}, i._tongqu_row AS _tongqu_row, {fault} AS _tongqu_fault, s._tongqu_place "
            f"FROM {relations[0]} AS i {how} {relations[1]} AS s ON {match}",
            {
                _MISSING: Fault("lookup.missing", first, column(first), f"is not in {self.within!r}"),
                _MANY: Fault("lookup.many", first, column(first), f"comes more than once in {self.within!r}"),
            },
            order="_tongqu_place" if self.many == "all" else "",
        )

    def _shown(self, names: Mapping[str, str]) -> str:
        keys = [f"i.{quoted(names[c])}" for c in self.on]
        return keys[0] if len(keys) == 1 else "concat_ws(', ', " + ", ".join(f"{k}::VARCHAR" for k in keys) + ")"


operator = Lookup
