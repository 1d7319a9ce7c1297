"""Every operator in every lane: inside the source against plain Python, over changes, and nothing left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pyarrow as pa
import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.core import registry
from tongqu.core.connector import Can
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Step, parse_step, verbs
from tongqu.core.plan import check_changes, plan
from tongqu.engine.chain import Chain
from tongqu.meaning.pushdown import identifier
from tongqu.testing.services import Service
from tongqu.testing.tested import note, saw

Row = dict[str, Any]
COMMITTED = Path(__file__).parents[2] / "docs/reference/tested.json"
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False),
    pa.field("n", pa.int64()),
    pa.field("i", pa.int32()),
    pa.field("d", pa.decimal128(9, 2), metadata={"tongqu.unit": "g"}),
    pa.field("t", pa.string(), metadata={"tongqu.native": "postgres:text"}),
]
SCHEMA = pa.schema(FIELDS)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | st.integers(-9, 9),
            "i": st.none() | st.integers(-99, 99),
            "d": st.none() | st.integers(-9999, 9999).map(lambda n: Decimal(n).scaleb(-2)),
            "t": st.none() | st.text(alphabet="aAbB%_' 中🙂é0", max_size=5),
        }
    ),
    max_size=12,
)
DDL = {
    "postgres": "CREATE TABLE rows (id bigint PRIMARY KEY, n bigint, i integer, d numeric(9,2), t text)",
    "mysql": "CREATE TABLE `rows` (id bigint PRIMARY KEY, n bigint, i int, d decimal(9,2), t text) CHARSET utf8mb4",
}
URLS = {"postgres": "postgres://u@127.0.0.1:1/x", "mysql": "mysql://u@127.0.0.1:1/x"}
DIALECTS = ("mysql", "postgres")
"""Databases whose sources take steps as SQL; the others give all their rows, and steps run in the columnar lane."""


# ---- pushed into the source


@dataclass(frozen=True)
class Pushed:
    """A step that can run inside these databases, and what it makes of a row (None: nothing)."""

    step: Row
    oracle: Callable[[Row], Row | None]
    dialects: tuple[str, ...] = ("postgres", "mysql")

    @property
    def verb(self) -> str:
        return next(iter(self.step))


def scaled(value: Decimal | None, by: int) -> Decimal | None:
    return None if value is None else value / by


PUSHED = (
    Pushed({"select": ["d", "t", "id"]}, lambda r: {"d": r["d"], "t": r["t"], "id": r["id"]}),
    Pushed({"drop": ["n", "d"]}, lambda r: {"id": r["id"], "i": r["i"], "t": r["t"]}),
    Pushed({"rename": {"n": "i", "i": "n"}}, lambda r: {**r, "n": r["i"], "i": r["n"]}),
    Pushed({"filter": "n > 5 or d is null"}, lambda r: r if (r["n"] or 0) > 5 or r["d"] is None else None),
    Pushed({"filter": "t = 'a' or t like '%B'"}, lambda r: r if r["t"] == "a" or (r["t"] or "").endswith("B") else None,
           ("postgres",)),
    Pushed({"derive": {"same": "d"}}, lambda r: {**r, "same": r["d"]}),
    Pushed({"derive": {"m": "n * 2 + i", "t": "t || '!'"}},
           lambda r: {**r, "t": None if r["t"] is None else r["t"] + "!",
                      "m": None if r["n"] is None or r["i"] is None else r["n"] * 2 + r["i"]}, ("postgres",)),
    Pushed({"cast": {"i": "bigint", "d": "decimal(18,4)"}}, lambda r: r, ("postgres",)),
    Pushed({"convert": {"d": {"to": "kg"}}}, lambda r: {**r, "d": scaled(r["d"], 1000)}, ("postgres",)),
    Pushed({"code_map": {"t": {"map": {"a": "open", "中": "shut"}, "unmatched": "keep"},
                         "n": {"map": {1: 7}, "default": -1}}},
           lambda r: {**r, "t": {"a": "open", "中": "shut"}.get(r["t"], r["t"]),
                      "n": None if r["n"] is None else 7 if r["n"] == 1 else -1}, ("postgres",)),
    Pushed({"fill": {"n": 0, "t": {"value": "none"}}},
           lambda r: {**r, "n": r["n"] or 0, "t": "none" if r["t"] is None else r["t"]}, ("postgres",)),
    Pushed({"mask": {"t": {"with": "constant", "value": "***"}, "n": {"with": "constant", "value": 0}}},
           lambda r: {**r, "t": "***", "n": 0}, ("postgres",)),
    Pushed({"split_columns": {"column": "t", "widths": [1, 2], "into": ["a", "b"], "extra": "drop", "keep": True}},
           lambda r: {**r, "a": (r["t"] or "")[:1] or None, "b": (r["t"] or "")[1:3] or None},
           ("postgres",)),
    Pushed({"route": {"big": "n > 5", "otherwise": "rest"}}, lambda r: r if (r["n"] or 0) > 5 else None),
)  # fmt: skip


def placed(raw: Row) -> Step:
    """The step; of a step with branches its first one."""
    made = parse_step(raw, "steps[0]")
    branch = next(iter(made.operator.branches.items()), None)
    return Step(f"{made.id}.{branch[0]}", made.verb, branch[1], (), made.path) if branch else made


@dataclass(frozen=True)
class Database:
    """A server with the table `rows` in it."""

    dialect: str
    cursor: Any
    label: str

    def query(self, rows: list[Row], sql: str) -> list[tuple[Any, ...]]:
        """What a query gives when the table holds exactly these rows."""
        table = identifier("rows", self.dialect)
        self.cursor.execute(f"DELETE FROM {table}")
        values = [[row[name] for name in SCHEMA.names] for row in rows]
        self.cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s)", values)
        self.cursor.execute(sql)
        return [tuple(row) for row in self.cursor.fetchall()]


@pytest.fixture(scope="module", params=DIALECTS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One database for the module in each server that takes SQL."""
    dialect = str(request.param)
    service: Service = request.getfixturevalue({"postgres": "postgres", "mysql": "mariadb"}[dialect])
    url = urlsplit(service.database())
    door: dict[str, Any] = {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": unquote(url.password or ""),
    }
    name = unquote(url.path[1:])
    connection: Any = (
        psycopg.connect(**door, dbname=name, autocommit=True)
        if dialect == "postgres"
        else pymysql.connect(**door, database=name, autocommit=True, charset="utf8mb4")
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(DDL[dialect])
        yield Database(dialect, cursor, service.label)


@pytest.mark.oracle(*sorted({case.verb for case in PUSHED}))
@pytest.mark.parametrize("case", PUSHED, ids=lambda case: case.verb)
def test_inside_the_source(database: Database, case: Pushed) -> None:
    chain = Chain(Dataset("rows", SCHEMA), [placed(case.step)])
    select, reason = chain.pushdown(database.dialect)
    if database.dialect not in case.dialects:
        assert reason, "it can be pushed, so it must be tried"
        return
    assert select is not None, reason
    quoted = [identifier(column.name, database.dialect) for column in select.columns]
    items = ", ".join(f"{column.sql or name} AS {name}" for column, name in zip(select.columns, quoted, strict=True))
    where = f"WHERE {select.where}" if select.where else ""
    key = identifier("id", database.dialect)
    sql = f"SELECT {items} FROM {identifier('rows', database.dialect)} {where} ORDER BY {key}"

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(ROWS)
    def same(rows: list[Row]) -> None:
        full = [{"id": number, **row} for number, row in enumerate(rows)]
        found = database.query(full, sql)
        expected = [made for row in full if (made := case.oracle(row)) is not None]
        assert [dict(zip(chain.output.columns, row, strict=True)) for row in found] == expected
        saw(chain.pushed(len(full), len(found)), f"pushed: {database.dialect}")

    same()
    note("systems", name=database.dialect, label=database.label)


# ---- over changes


@dataclass(frozen=True)
class Example:
    """A step as people write it, over inputs `a` and `b` of which `a` gives only changes, and what `plan` says:
    nothing, that it needs all rows (`all`), or that a changed row may leave old ones (`leaves`)."""

    step: Row
    refused: str = ""
    when: str = ""
    """The setting or input that makes the difference to the verb's other examples."""
    changing: str = "a"
    inputs: tuple[str, ...] = ("a",)


BOTH = ("a", "b")
LOOKUP = {"in": "b", "on": {"n": "id"}, "fields": {"name": "t"}}
KEY = "${secret:hr}"
EXAMPLES = (
    Example({"aggregate": {"by": ["t"], "total": "sum(n)"}}, "all"),
    Example({"cast": {"n": "smallint"}}),
    Example({"check": {"n": {"required": True}}}),
    Example({"check": {"n": {"unique": True}}}, "all", "unique"),
    Example({"clean": {"t": ["trim"]}}),
    Example({"clean": {"n": {"outliers": {"min": 0, "max": 9, "then": "clamp"}}}}, "", "outliers: min, max"),
    *(
        Example({"clean": {"n": {"outliers": {rule: 3, "then": "clamp"}}}}, "all", f"outliers: {rule}")
        for rule in ("sigma", "iqr", "mad")
    ),
    Example({"code_map": {"t": {"map": {"a": "b"}}}}),
    Example({"compare": {"old": "a", "new": "b", "key": "id"}}, "all", inputs=BOTH),
    Example({"convert": {"d": {"to": "kg"}}}),
    Example({"decrypt": {"columns": {"t": "varchar"}, "key": KEY, "purpose": "a test"}}),
    Example({"deduplicate": {"by": ["n"]}}, "all"),
    Example({"derive": {"m": "n * 2"}}),
    Example({"drop": ["n"]}),
    Example({"encrypt": {"columns": ["t"], "key": KEY}}),
    Example({"fill": {"n": 0}}),
    Example({"fill": {"n": {"method": "last", "order": ["id"]}}}, "all", "method: last"),
    Example({"fill": {"n": {"method": "mean"}}}, "all", "method: mean"),
    Example({"fill": {"n": {"method": "median"}}}, "all", "method: median"),
    Example({"filter": "n > 5"}),
    Example({"join": {"left": "a", "right": "b", "on": "id", "suffix": "_b"}}, "all", inputs=BOTH),
    Example({"from": "a", "lookup": LOOKUP}, inputs=BOTH),
    Example({"from": "a", "lookup": {**LOOKUP, "many": "all"}}, "leaves", "many: all", inputs=BOTH),
    Example({"from": "a", "lookup": LOOKUP}, "all", "in: changes", "b", BOTH),
    Example({"mask": {"t": "name"}}),
    Example({"model": {"do": "anomaly", "method": "robust_z", "columns": ["n"], "into": "odd"}}, "all", "do: anomaly"),
    Example({"model": {"do": "cluster", "columns": ["n"], "into": "group"}}, "all", "do: cluster"),
    Example({"parse": {"column": "t", "format": "json", "fields": ["x"]}}),
    Example({"pivot": {"by": "id", "column": "t", "value": "n", "values": ["x"]}}, "all"),
    Example({"python": {"file": "own.py", "function": "same"}}),
    Example({"python": {"file": "own.py", "function": "same", "whole": True}}, "all", "whole"),
    Example({"rename": {"n": "m"}}),
    Example({"route": {"big": "n > 5", "otherwise": "rest", "drop": ["rest"]}}, "leaves"),
    Example({"select": ["id"]}),
    Example({"sort": ["n"]}, "all"),
    Example({"split_columns": {"column": "t", "widths": [1], "into": ["x"]}}),
    Example({"split_rows": {"column": "t", "separator": ","}}, "leaves"),
    Example({"sql": "select * from input"}, "all"),
    Example({"to_json": {"into": "doc"}}),
    Example({"union": {"inputs": ["a", "b"]}}, inputs=BOTH),
    Example({"union": {"inputs": ["a", "b"], "distinct": True}}, "all", "distinct", inputs=BOTH),
    Example({"unpivot": {"columns": ["n", "i"]}}),
    Example({"unpivot": {"columns": ["n", "i"], "nulls": "drop"}}, "leaves", "nulls: drop"),
    Example({"window": {"by": "t", "order": "id", "columns": {"nr": "row_number()"}}}, "all"),
)


def verb_of(example: Example) -> str:
    return next(key for key in example.step if key != "from")


def parsed(example: Example, folder: Path) -> Step:
    (folder / "own.py").write_text("def same(table):\n    return table\n", encoding="utf-8")
    return parse_step(example.step, "steps[0]", folder=str(folder))


@pytest.mark.tabled
@pytest.mark.parametrize("example", EXAMPLES, ids=verb_of)
def test_over_changes(example: Example, tmp_path: Path) -> None:
    step = parsed(example, tmp_path)
    branch = f"{step.id}.{next(iter(step.operator.branches))}" if step.operator.branches else None
    made = plan(list(example.inputs), [step], {"out": branch})
    said = ""
    try:
        check_changes(made, [example.changing])
    except InvalidPlanError as error:
        said = "leaves" if "old ones stay" in error.message else "all"
    assert said == example.refused
    if said == "leaves":
        check_changes(made, [example.changing], appends=True)
    kind = "row-wise" if step.operator.row_wise else "whole"
    note("changes", verb=step.verb, when=example.when, refused=said, kind=kind)


# ---- nothing left out


def test_sources_that_take_steps_as_sql() -> None:
    found = set()
    for name in registry.names():
        connector = registry.connector(name)
        if connector.source is not None and Can.PUSH in connector.can:
            with closing(connector.source(connector.from_url(URLS[name]))) as source:
                found.add(source.dialect)
    assert found == set(DIALECTS)


def test_every_operator_has_an_example() -> None:
    assert {verb_of(example) for example in EXAMPLES} == set(verbs())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_can_be_pushed_was_tried(dialect: str, tmp_path: Path) -> None:
    tried = {case.verb for case in PUSHED if dialect in case.dialects}
    alone = [parsed(example, tmp_path) for example in EXAMPLES if example.inputs == ("a",)]
    able = {
        step.verb
        for step in (placed(e.step) if s.operator.branches else s for e, s in zip(
            (e for e in EXAMPLES if e.inputs == ("a",)), alone, strict=True))
        if step.operator.chunk_safe and Chain(Dataset("rows", SCHEMA), [step]).pushdown(dialect)[0]
    }  # fmt: skip
    assert able - tried == set()


def test_the_committed_table_has_every_operator_in_every_lane() -> None:
    """What `make tables` wrote last; a new operator, or a lane that is new to one, is missing there."""
    facts = {(fact["verb"], fact["lane"]) for fact in json.loads(COMMITTED.read_text(encoding="utf-8"))["operators"]}
    wanted = {(verb, "python" if verb == "python" else "columnar") for verb in verbs()}
    wanted |= {(case.verb, f"pushed: {dialect}") for case in PUSHED for dialect in case.dialects}
    assert wanted - facts == set(), "write their property test, mark it `oracle`, and run `make tables`"
    assert facts - wanted == set(), "run `make tables`"
