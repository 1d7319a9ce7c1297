"""Bring columns of another dataset to each row, by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.history import History
from tongqu.core.operator import Expansion, Fault, Lineage, Operator
from tongqu.core.settings import Names, Pairs, titled
from tongqu.meaning.event_time import micros
from tongqu.meaning.expressions import column
from tongqu.meaning.joint import comparable
from tongqu.meaning.ordering import order_sql, terms
from tongqu.meaning.sandbox import only_one, quoted, relation_names
from tongqu.meaning.versions import AsOf, clashing, periods

_MISSING, _MANY, _LATE, _EARLY = 1, 2, 3, 4
_SETTLING = "30s"
"""So long a row waits for a history to come to its instant, where `wait` says nothing."""
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

    With `at` rows are looked up as of their own time instead, so that a late row, a replay and a run of all rows get
    the value that held then. Where the dataset has versions of its rows:

    ```yaml
    - lookup:
        in: rates
        on: {currency: code}
        fields: {rate: rate}
        at: {on: sold_at, valid_from: valid_from, valid_to: valid_to}    # `valid_from` alone: the next one ends it
    ```

    Where it has none, and its source has `mode: cdc`, versions are kept of what its log tells:

    ```yaml
    - lookup:
        in: prices
        on: {item: code}
        fields: {price: price}
        at: {on: sold_at, retention: 7d}
        wait: 30s                      # a row may be so much ahead of what the log has told
    ```

    A gap between versions and a row without an instant have no match. Where several versions hold at the row's instant
    `many` says what happens: `error` names the key and two of the versions, `first` takes the first in `order`. With
    `retention` a row waits until the log has told everything up to its instant, and what cannot be known is never
    answered: see `late`.
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
    at: AsOf | None = titled("按事件时间", "At", None)
    """Look up what held at the row's own time: in a dataset that has versions, or by the history of its log."""

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

    @model_validator(mode="after")
    def _sound(self) -> Lookup:
        if self.at is not None and self.many == "all":
            raise ValueError("`at` looks for the one version that holds; say `many: first`, `quarantine` or `error`")
        if self.at is not None and self.at.retention and self.refresh:
            raise ValueError("`refresh` says nothing where `at` keeps a history: it follows the log")
        return self

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not set, so that the digests of older pipelines stay as they are."""
        told: dict[str, Any] = handler(self)
        return {k: v for k, v in told.items() if v or k not in ("refresh", "wait", "as_of", "at")}

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
        if self.at is not None:
            self.at.check(main, other)
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
        if self.at is not None:
            chosen |= {(0, self.at.on), *((1, c) for c in self.at.columns)}
        return {(0, c) for c in self.on} | {(1, c) for c in self.on.values()} | chosen

    def side(self, relation: str, dataset: Dataset) -> str:
        """Keys `k0 …`, fields `f0 …`, how many rows share the key, and the rank among them; null keys are left out.
        With `at`: as `periods` gives them."""
        if self.at is not None:
            return self._periods(self.at, relation, dataset)
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

    def _periods(self, at: AsOf, relation: str, dataset: Dataset) -> str:
        names = relation_names(dataset.columns)
        keys = [quoted(names[c]) for c in self.on.values()]
        since, until = at.versions(dataset, names, keys)
        items = [f"{key} AS k{n}" for n, key in enumerate(keys)]
        items += [f"{quoted(names[c])} AS f{n}" for n, c in enumerate(self.fields.values())]
        order = ", ".join([*order_sql(terms(self.order, dataset), names), "_tongqu_row"])
        items += [f"row_number() OVER (ORDER BY {order}) AS id", f"{since} AS since", f"{until} AS until"]
        known = " AND ".join(f"{key} IS NOT NULL" for key in [*keys, since])
        numbered = f"SELECT *, row_number() OVER () AS _tongqu_row FROM {relation}"
        return periods(f"SELECT {', '.join(items)} FROM ({numbered}) WHERE {known}", len(keys), len(self.fields))

    @property
    def side_history(self) -> History | None:
        if self.at is None or not self.at.retention:
            return None
        return History(
            self.at.on,
            retention=micros(self.at.retention),
            lateness=self.at.slack,
            wait=micros(self.wait or _SETTLING),
            always=self.at.initial == "always",
            bounded=bool(self.at.lateness),
        )

    @property
    def notes(self) -> Sequence[str]:
        if self.at is None:
            return ()
        by = "by its own versions"
        if self.at.retention:
            by = f"by the history of its log, of which {self.at.retention} are kept"
        return (f"looks up {self.within!r} as of {self.at.on!r}, {by}",)

    @property
    def side_freshness(self) -> tuple[float | None, float]:
        return (micros(self.refresh) / 1e6 if self.refresh else None, micros(self.wait) / 1e6 if self.wait else 0.0)

    def absent(self, relation: str, side: str, inputs: Sequence[Dataset]) -> str:
        names = relation_names(inputs[0].columns)
        keys = [f"i.{quoted(names[c])}" for c in self.on]
        known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        match = " AND ".join(f"{key} = s.k{n}" for n, key in enumerate(keys))
        items = ", ".join(f"{key} AS k{n}" for n, key in enumerate(keys))
        if self.at is not None:
            instant = self.at.instant(f"i.{quoted(names[self.at.on])}", inputs[0])
            return (
                f"SELECT DISTINCT {items} FROM {relation} AS i ASOF LEFT JOIN {side} AS s "
                f"ON {match} AND {instant} >= s.since "
                f"WHERE {known} AND {instant} IS NOT NULL AND coalesce(s.many, 0) = 0"
            )
        return (
            f"SELECT DISTINCT {items} FROM {relation} AS i "
            f"WHERE {known} AND NOT EXISTS (SELECT 1 FROM {side} AS s WHERE {match})"
        )

    @property
    def _versions(self) -> tuple[str, ...]:
        return (self.as_of,) if self.as_of else ()

    def expansion(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion:
        if self.at is not None:
            return self._at_instants(self.at, relations, inputs)
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
            fault = (
                f"({fault}) + {only_one('s.many > 1', what, self._shown([f'i.{quoted(names[c])}' for c in self.on]))}"
            )
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

    def _at_instants(self, at: AsOf, relations: Sequence[str], inputs: Sequence[Dataset]) -> Expansion:
        """As `expansion`, of a side as `periods` gives it: each row finds the last period that began before it."""
        main, _ = inputs
        names = relation_names(main.columns)
        out = relation_names([*main.columns, *self.fields, *self._versions])
        inner = {c: f"c{n}" for n, c in enumerate(main.columns)}
        instant = at.instant(f"i.{quoted(names[at.on])}", main)
        match = [f"i.{quoted(names[c])} = s.k{n}" for n, c in enumerate(self.on)]
        found = [f"i.{quoted(names[c])} AS {new}" for c, new in inner.items()]
        found += [*(f"s.f{n} AS f{n}" for n in range(len(self.fields))), "s.clash AS clash"]
        found += ["i._tongqu_row AS row", f"{self._unknown(at, instant, relations[2])} AS unknown"]
        items = [f"{new} AS {quoted(out[c])}" for c, new in inner.items()]
        items += [f"CASE WHEN many > 0 THEN f{n} END AS {quoted(out[new])}" for n, new in enumerate(self.fields)]
        items += [f"(SELECT read_at FROM {relations[2]}) AS {quoted(out[name])}" for name in self._versions]
        fault, where = "0", "TRUE"
        if self.missing == "quarantine":
            fault = f"CASE WHEN many > 0 THEN 0 ELSE {_MISSING} END"
        elif self.missing == "drop":
            where = "many > 0"
        if self.many == "quarantine":
            fault = f"CASE WHEN many > 1 THEN {_MANY} ELSE {fault} END"
        elif self.many == "error":
            what = f"in {self.within!r} the key {', '.join(self.on.values())} ="
            fault = f"({fault}) + {clashing('many > 1', what, self._shown([inner[c] for c in self.on]), 'clash')}"
        if at.late == "quarantine":
            fault, where = f"CASE WHEN unknown > 0 THEN unknown ELSE {fault} END", f"(unknown > 0 OR {where})"
        elif at.late == "drop":
            where = f"(unknown = 0 AND {where})"
        return Expansion(
            f"SELECT {', '.join(items)}, row AS _tongqu_row, {fault} AS _tongqu_fault FROM ("
            f"SELECT * REPLACE (CASE WHEN unknown = 0 THEN coalesce(many, 0) ELSE 0 END AS many) FROM ("
            f"SELECT {', '.join(found)}, s.many AS many FROM {relations[0]} AS i ASOF LEFT JOIN {relations[1]} AS s "
            f"ON {' AND '.join(match)} AND {instant} >= s.since)) WHERE {where}",
            self._faults_at(at),
        )

    def _unknown(self, at: AsOf, instant: str, told: str) -> str:
        """SQL: 0 where it is known what held at the instant, else the number of the fault."""
        if not at.retention:
            return "0"
        gaps = f"list_transform((SELECT gaps FROM {told}), lambda g: {instant} >= g.since AND {instant} < g.until)"
        return (
            f"CASE WHEN list_bool_or({gaps}) THEN {_LATE} "
            f"WHEN {instant} >= (SELECT reached FROM {told}) THEN {_EARLY} ELSE 0 END"
        )

    def _faults_at(self, at: AsOf) -> Mapping[int, Fault]:
        first = next(iter(self.on))
        of, there = f"at the row's {at.on!r}", repr(self.within)
        return {
            _MISSING: Fault("lookup.missing", first, column(first), f"has no version in {there} that holds {of}"),
            _MANY: Fault("lookup.many", first, column(first), f"has versions in {there} that overlap {of}"),
            _LATE: Fault("lookup.late", at.on, column(at.on), f"is older than what is known of {there}"),
            _EARLY: Fault("lookup.early", at.on, column(at.on), f"is ahead of what the log of {there} has told"),
        }

    def _shown(self, keys: Sequence[str]) -> str:
        return keys[0] if len(keys) == 1 else "concat_ws(', ', " + ", ".join(f"{k}::VARCHAR" for k in keys) + ")"


operator = Lookup
