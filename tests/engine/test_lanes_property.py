"""Any chain that can be pushed down gives the same rows in PostgreSQL as in DuckDB."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.meaning.pushdown import identifier

NATIVE = {"t": "postgres:text", "c": "postgres:character varying(40)"}
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("i", pa.int32()),
    pa.field("big", pa.int64()),
    pa.field("d", pa.decimal128(9, 2)),
    pa.field("e", pa.decimal128(12, 4)),
    *(pa.field(name, pa.string(), metadata={"tongqu.native": native}) for name, native in NATIVE.items()),
    pa.field("b", pa.bool_()),
    pa.field("day", pa.date32()),
    pa.field("at", pa.timestamp("us", tz="UTC")),
    pa.field("local", pa.timestamp("us")),
]
SCHEMA = pa.schema(FIELDS)
DDL = """CREATE TABLE rows (id bigint PRIMARY KEY, i integer, big bigint, d numeric(9,2), e numeric(12,4), t text,
 c varchar(40), b boolean, day date, at timestamptz, "local" timestamp)"""

_texts = st.text(alphabet="aAbB%_' \\中文🙂é0", max_size=6)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_instant = st.integers(0, 4_000_000_000_000_000).map(lambda us: EPOCH + dt.timedelta(microseconds=us))
ROW = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-99, 99),
        "big": st.none() | st.integers(-99, 99),
        "d": st.none() | st.integers(-9999, 9999).map(lambda n: Decimal(n).scaleb(-2)),
        "e": st.none() | st.integers(-9999, 9999).map(lambda n: Decimal(n).scaleb(-4)),
        "t": st.none() | _texts,
        "c": st.none() | _texts,
        "b": st.none() | st.booleans(),
        "day": st.none() | st.dates(dt.date(1970, 1, 1), dt.date(2100, 1, 1)),
        "at": st.none() | _instant,
        "local": st.none() | _instant.map(lambda value: value.replace(tzinfo=None)),
    }
)


def _either(*forms: str, **parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One of the forms, with its {names} filled."""
    return st.tuples(st.sampled_from(forms), st.fixed_dictionaries(parts)).map(lambda made: made[0].format(**made[1]))


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


word = st.text(alphabet="aAbB%_' 中", min_size=1, max_size=3).map(_quote)
whole = st.integers(0, 9).map(str)
fraction = st.sampled_from(["0.5", "1.25", "10", "3"])
integer = st.sampled_from(["i", "big"]) | _either(
    "({x} + {n})", "({x} - {y})", "({x} * {n})", "(-{x})", "abs({x})", "coalesce({x}, {n})", "nullif({x}, {n})",
    "length({t})", "case when {x} > {n} then {y} else {n} end", "{x}::bigint",
    x=st.sampled_from(["i", "big"]), y=st.sampled_from(["i", "big"]), n=whole, t=st.sampled_from(["t", "c"]),
)  # fmt: skip
decimal = st.sampled_from(["d", "e"]) | _either(
    "({x} + {y})", "({x} - {f})", "({x} * {n})", "({x} * {y})", "abs({x})", "(-{x})", "coalesce({x}, {f})",
    "{n}::decimal(9,3)", "{x}::decimal(18,6)", "case when {n} < 5 then {x} end",
    x=st.sampled_from(["d", "e"]), y=st.sampled_from(["d", "e"]), f=fraction, n=integer,
)  # fmt: skip
text = st.sampled_from(["t", "c"]) | _either(
    "({t} || {u})", "({t} || {w})", "substring({t}, 2, {n})", "left({t}, {n})", "replace({t}, {w}, {u})",
    "{i}::varchar", "{d}::varchar", "coalesce({t}, {w})", "nullif({t}, {w})",
    "b::varchar", "case when b then {t} else {w} end",
    t=st.sampled_from(["t", "c"]), u=st.sampled_from(["t", "c"]), w=word, n=whole, i=integer, d=decimal,
)  # fmt: skip
condition = st.recursive(
    _either(
        "{i} > {n}", "{i} <= {d}", "{d} < {f}", "{d} between -1 and {f}", "{i} in (1, 2, {n})", "{t} = {w}",
        "{t} <> {u}", "{t} in ({w}, 'a')", "{t} is null", "{d} is not null", "{t} like {w}", "starts_with({t}, {w})",
        "b", "b is true", "b is not false", "b = true", "day >= '2030-01-01'", "at < '2040-01-01 10:00:00'",
        "at >= timestamptz '2035-06-01 00:00:00+08:00'", "{i} is distinct from {n}", "{d} is not distinct from {f}",
        "day <> date '2000-02-29'", "local > timestamp '2020-01-01 00:00:00'", "day is null",
        i=integer, d=decimal, t=text, u=text, w=word, n=whole, f=fraction,
    ),
    lambda inner: _either("({p} and {q})", "({p} or {q})", "(not {p})", "(({p}) is null)", p=inner, q=inner),
    max_leaves=4,
)  # fmt: skip
step = st.one_of(
    condition.map(lambda c: {"filter": c}),
    st.tuples(st.sampled_from(["n1", "n2", "big"]), integer).map(lambda p: {"derive": {p[0]: f"({p[1]})::bigint"}}),
    st.tuples(st.sampled_from(["t", "c", "t2"]), text).map(lambda p: {"derive": {p[0]: p[1]}}),
    decimal.map(lambda e: {"derive": {"d2": e}}),
    condition.map(lambda e: {"derive": {"flag": e}}),
    st.just({"convert": {"d": {"from": "g", "to": "kg"}}}),
    st.just({"cast": {"i": "bigint", "e": "decimal(18,6)"}}),
    st.just({"rename": {"t": "c", "c": "t"}}),
    st.just({"drop": ["day"]}),
    st.just({"fill": {"i": 7, "t": "it's", "big": {"expression": "i::bigint * 2"}, "b": False}}),
    st.sampled_from(["keep", "null"]).map(
        lambda way: {
            "code_map": {"i": {"map": {1: 10, 2: -2}, "unmatched": way}, "t": {"map": {"a": "%'"}, "default": "z"}}
        }
    ),
    st.just({"mask": {"big": {"with": "constant", "value": 5}, "t": {"with": "constant", "value": "***"}}}),
    st.just({"split_columns": {"column": "t", "widths": [1, 2], "into": ["t3", "t4"], "extra": "drop", "keep": True}}),
)
STEPS = st.lists(step, min_size=1, max_size=4)


def _planned(steps: list[dict[str, Any]]) -> Chain | None:
    from tongqu.core.errors import ConfigError

    try:
        return Chain(Dataset("rows", SCHEMA), [parse_step(s, f"steps[{n}]") for n, s in enumerate(steps)])
    except ConfigError:
        return None


def test_pushed_down_chains_give_the_same_rows(pg_url: str) -> None:
    tried = {"pushed": 0}
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute(DDL)

        @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(ROW, max_size=12), STEPS)
        def same(rows: list[dict[str, Any]], steps: list[dict[str, Any]]) -> None:
            chain = _planned(steps)
            select, reason = chain.pushdown("postgres") if chain else (None, "not a plan")
            event("pushed" if select else reason)
            if chain is None or select is None:
                return
            tried["pushed"] += 1
            full = [{"id": number, **row} for number, row in enumerate(rows)]
            connection.execute("TRUNCATE rows")
            with connection.cursor() as cursor:
                names = ", ".join(identifier(name, "postgres") for name in SCHEMA.names)
                marks = ", ".join(["%s"] * len(SCHEMA.names))
                cursor.executemany(
                    f"INSERT INTO rows ({names}) VALUES ({marks})", [[row[n] for n in SCHEMA.names] for row in full]
                )
            items = ", ".join(
                f"{c.sql or identifier(c.name, 'postgres')} AS {identifier(c.name, 'postgres')}" for c in select.columns
            )
            where = f" WHERE {select.where}" if select.where else ""
            found = connection.execute(f"SELECT {items} FROM rows{where} ORDER BY id".encode()).fetchall()
            result = chain.run(pa.Table.from_pylist(full, schema=SCHEMA))
            chain.close()
            assert not result.bad
            expected = [tuple(row.values()) for row in result.rows.to_pylist()]
            assert [tuple(map(_exact, row)) for row in found] == [tuple(map(_exact, row)) for row in expected]

        same()
    assert tried["pushed"] >= 100


def _exact(value: object) -> object:
    """Decimals with their scale, so 1.0 and 1.00 differ."""
    return (str(value), type(value).__name__) if isinstance(value, Decimal) else value
