"""Made-up tables of APIs that belong together: keys are unique, what leads to another API finds a row there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.gateway.mock.columns import Column
from tongqu.gateway.mock.likeness import likeness
from tongqu.gateway.publication import Api
from tongqu.kit.drivers import driver
from tongqu.meaning.fields import metadata
from tongqu.meaning.sandbox import narrowed

if TYPE_CHECKING:
    from tongqu.gateway.policy.decision import Decision

ROWS = 200
"""Rows of a made-up table."""
Profile = Callable[[Api], "Mapping[str, Mapping[str, Any]] | None"]
"""What is known of an API's columns by name, as `catalog.profiling` tells it with `rows` in each; None: nothing."""
_LOGICAL = {"json": "JSON", "uuid": "UUID", "decimal": "DECIMAL(38,2)"}


def table_name(api: Api) -> str:
    """How its made-up table is called."""
    return f"{api.version}__{api.name}"


def together(apis: Sequence[Api]) -> list[tuple[Api, ...]]:
    """The APIs in groups, each with all that its relations reach."""
    groups: dict[tuple[str, str], list[Api]] = {(api.version, api.name): [api] for api in apis}
    for api in apis:
        for relation in api.relations.values():
            here, there = groups[api.version, api.name], groups.get((api.version, relation.api))
            if there is not None and there is not here:
                here += there
                for moved in there:
                    groups[moved.version, moved.name] = here
    return [tuple(group) for group in {id(group): group for group in groups.values()}.values()]


def wanted_values(decision: Decision) -> dict[str, list[Any]]:
    """What fields must be equal to in rows that the caller may see, as far as the rule says it plainly."""
    from sqlglot import exp

    found: dict[str, list[Any]] = {}

    def note(subject: exp.Expr, values: Sequence[exp.Expr]) -> None:
        if isinstance(subject, exp.Column):
            for value in values:
                if isinstance(value, exp.Placeholder) and value.name in decision.params:
                    found.setdefault(subject.name, []).append(decision.params[value.name])
                elif isinstance(value, exp.Literal):
                    found.setdefault(subject.name, []).append(value.this)

    if decision.rows is not None:
        for equal in decision.rows.find_all(exp.EQ):
            note(equal.this, [equal.expression])
        for one_of in decision.rows.find_all(exp.In):
            note(one_of.this, one_of.expressions)
    return found


@dataclass
class Making:
    """Makes the tables of one group. `wanted` are values by API and field that the caller's rights ask for."""

    apis: Sequence[Api]
    seed: str
    profile: Profile
    wanted: Mapping[tuple[str, str], Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    _made: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict)
    _open: set[tuple[str, str, str]] = field(default_factory=set)
    _known: dict[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    def table(self, api: Api) -> pa.Table:
        """The rows of one API; fewer than ROWS where a key of several fields came twice."""
        schema = narrowed(api.dataset.schema)
        columns = [pa.array(self._values(api, one.name), one.type) for one in schema]
        made = pa.Table.from_arrays(columns, schema=pa.schema([one.with_nullable(True) for one in schema]))
        key = api.dataset.key
        if not key:
            return made
        seen: dict[tuple[Any, ...], int] = {}
        for number, values in enumerate(zip(*(made.column(name).to_pylist() for name in key), strict=True)):
            if all(value is not None for value in values):
                seen.setdefault(values, number)
        return made.take(list(seen.values()))

    def _values(self, api: Api, name: str) -> list[Any]:
        place = (api.version, api.name, name)
        if place not in self._made:
            self._open.add(place)
            self._made[place] = self._column(api, name).values(ROWS, f"{self.seed}{api.path}")
            self._open.discard(place)
        return self._made[place]

    def _column(self, api: Api, name: str) -> Column:
        if api.path not in self._known:
            self._known[api.path] = self.profile(api) or {}
        known = self._known[api.path].get(name)
        one, rule, key = narrowed(api.dataset.schema).field(name), api.rules.get(name), api.dataset.key
        wanted = self.wanted.get((api.version, api.name), {}).get(name, ())
        unique = key == (name,) or (rule is not None and rule.unique)
        if name in key and one.nullable:
            one = one.with_nullable(False)
        return Column(one, likeness(one, rule, known), rule, unique, self._pool(api, name), wanted)

    def _pool(self, api: Api, name: str) -> list[Any] | None:
        """The values of the field that this one leads to; None if it leads nowhere, or in a circle."""
        for other in self.apis:
            if other.version != api.version:
                continue
            links = [r.on[name] for r in api.relations.values() if r.api == other.name and not r.many and name in r.on]
            links += [
                here for r in other.relations.values() if r.api == api.name and r.many
                for here, there in r.on.items() if there == name
            ]  # fmt: skip
            for link in links:
                place = (other.version, other.name, link)
                if link in other.dataset.columns and place not in self._open and place != (api.version, api.name, name):
                    return self._values(other, link)
        return None


def build(path: Path, making: Making) -> None:
    """Write the tables into a new DuckDB file: with keys, with what may not be null, and numbers that go on."""
    database = driver("duckdb", "duckdb").connect(str(path))
    try:
        for api in making.apis:
            rows = making.table(api)
            database.register("given", rows)
            shown = [_shown(one) for one in api.dataset.schema]
            described = database.execute(f"DESCRIBE SELECT {', '.join(shown)} FROM given").fetchall()
            types = {str(name): str(kind) for name, kind, *_ in described}
            table = _quoted(table_name(api))
            lines = [_line(database, api, one, types[one.name], rows) for one in api.dataset.schema]
            if api.dataset.key:
                lines.append(f"PRIMARY KEY ({', '.join(_quoted(name) for name in api.dataset.key)})")
            database.execute(f"CREATE TABLE {table} ({', '.join(lines)})")
            database.execute(f"INSERT INTO {table} SELECT {', '.join(shown)} FROM given")
            database.unregister("given")
    finally:
        database.close()


def _shown(one: pa.Field[Any]) -> str:
    logical = _LOGICAL.get(metadata(one).get(Meta.LOGICAL, "")) if pa.types.is_string(one.type) else None
    name = _quoted(one.name)
    return f"CAST({name} AS {logical}) AS {name}" if logical else name


def _line(database: Any, api: Api, one: pa.Field[Any], kind: str, rows: pa.Table) -> str:
    """A column's definition."""
    told = metadata(one)
    name = _quoted(one.name)
    if told.get(Meta.IDENTITY) and pa.types.is_integer(one.type):
        sequence = _quoted(f"{table_name(api)}.{one.name}")
        values = [value for value in rows.column(one.name).to_pylist() if value is not None]
        database.execute(f"CREATE SEQUENCE {sequence} START {max(values, default=0) + 1}")
        return f"{name} {kind} DEFAULT nextval('{sequence.replace(chr(39), chr(39) * 2)}')"
    given = told.get(Meta.DEFAULT) or told.get(Meta.IDENTITY) or told.get(Meta.GENERATED)
    needed = not (one.nullable or given or rows.column(one.name).null_count)  # some types have no made-up values
    return f"{name} {kind}" + (" NOT NULL" if needed else "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
