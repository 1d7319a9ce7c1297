"""What each dialect says is SQL of its system, and its types hold what they are made for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from sqlglot import parse_one

from tongqu.connectors.mssql.table import NATIVES as MSSQL
from tongqu.connectors.oracle.table import NATIVES as ORACLE
from tongqu.core.data import Meta
from tongqu.kit.tables.dialects import NAMES, dialect, named_by
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.ordering import Ordering
from tongqu.testing.types import CASES

READABLE = {name: dialect(name) for name in NAMES if dialect(name).sqlglot}
ORACLE_S = {"int": "NUMBER(9,0)", "varchar(20)": "VARCHAR2(20 CHAR)", "decimal(12,3)": "NUMBER(12,3)"}
WRITABLE = [name for name in NAMES if dialect(name).writes]


@pytest.mark.parametrize("name", READABLE)
def test_key_ranges_are_good_sql(name: str) -> None:
    words = READABLE[name]
    for native, value in (("int", "7"), ("varchar(20)", "it's"), ("date", "2026-01-02"), ("decimal(12,3)", "1.5")):
        kind = Native.parse(ORACLE_S.get(native, native) if name == "oracle" else native)
        order = Ordering(words, words.place("plant", "lot"), ("a", "b"), (kind, kind))
        for query in (order.probe([value, value], None, 10), order.last(), order.greatest()):
            parse_one(query, read=words.sqlglot)
        condition = order.condition([value, value], [value, value], closed=True)
        parse_one(f"SELECT 1 FROM t WHERE {condition}", read=words.sqlglot)


@pytest.mark.parametrize("name", [name for name in READABLE if name in WRITABLE])
def test_statements_are_good_sql(name: str) -> None:
    words = READABLE[name]
    t, s = words.place("plant", "lot"), words.place("plant", "stage")
    id_, v = words.quote("id"), words.quote("v")
    on, sets = f"t.{id_} = s.{id_}", [(v, f"s.{v}")]
    said = [
        words.create(t, [f"{id_} {words.made('int64')} NOT NULL", f"PRIMARY KEY ({id_})"]),
        words.update(t, s, sets, on, "1 = 1"),
        words.update_alone(t, [(v, "NULL")], f"t.{id_} = 1"),
        words.delete(t, "t", f"t.{id_} = 1"),
        words.superseded(s, ["id"]),
        words.page(f"SELECT {id_} FROM {t} ORDER BY {id_}", 5, 10),
        *words.add_columns(t, [f"{v} {words.text(None, key=False)}"]),
        *words.key(t, [("id", words.made("int64"))]),
    ]
    if words.merge == "merge":
        said.append(words.merged(t, s, on, sets=sets, where="1 = 1", names=[id_, v]))
        said.append(words.merged(t, s, on, sets=[], where="", names=[id_]))
    for statement in said:
        assert parse_one(statement, read=words.sqlglot) is not None, statement


@pytest.mark.parametrize("name", WRITABLE)
def test_every_type_of_the_matrix_has_a_column_that_can_be_read(name: str) -> None:
    words = dialect(name)
    for case in CASES:
        for key in (False, True):
            native = words.column_type(case.field, key=key)
            assert not pa.types.is_null(words.field("v", native).type), f"{case.name}: {native}"
            assert words.same_type(native, native)


@pytest.mark.parametrize("name", WRITABLE)
def test_a_key_is_indexable(name: str) -> None:
    words = dialect(name)
    for case in CASES:
        assert words.indexable(words.column_type(case.field, key=True)), case.name


@pytest.mark.parametrize(("name", "natives"), [("tsql", MSSQL), ("oracle", ORACLE)])
def test_a_type_of_the_system_is_kept_and_read(name: str, natives: tuple[str, ...]) -> None:
    words = dialect(name)
    for native in natives:
        field = words.field("v", native)
        assert not pa.types.is_null(field.type), native
        assert words.column_type(field, key=False) == native
        if native not in ("XMLTYPE", "JSON"):  # sqlglot knows neither XMLSERIALIZE nor JSON_SERIALIZE RETURNING
            parse_one(f"SELECT {words.readable(words.quote('v'), Native.parse(native))} FROM t", read=words.sqlglot)


@pytest.mark.parametrize(
    ("name", "kind", "native"),
    [
        ("tsql", pa.decimal128(38, 10), "decimal(38,10)"),
        ("tsql", pa.timestamp("us"), "datetime2(6)"),
        ("tsql", pa.timestamp("us", "UTC"), "datetimeoffset(6)"),
        ("tsql", pa.uint64(), "decimal(20,0)"),
        ("oracle", pa.decimal128(38, 10), "NUMBER(38,10)"),
        ("oracle", pa.timestamp("us", "UTC"), "TIMESTAMP(6) WITH TIME ZONE"),
        ("oracle", pa.float64(), "BINARY_DOUBLE"),
        ("dm", pa.bool_(), "BIT"),
        ("db2", pa.decimal128(31, 2), "DECIMAL(31,2)"),
    ],
)
def test_new_columns(name: str, kind: pa.DataType, native: str) -> None:
    assert dialect(name).column_type(pa.field("v", kind), key=False) == native


def test_lengths_travel_from_other_systems() -> None:
    field: pa.Field[Any] = pa.field("v", pa.string(), metadata={Meta.NATIVE.value: "postgres:character varying(32)"})
    assert dialect("oracle").column_type(field, key=False) == "VARCHAR2(32 CHAR)"
    assert dialect("tsql").column_type(field, key=True) == "nvarchar(64) COLLATE Latin1_General_100_BIN2"


@pytest.mark.parametrize(
    ("product", "name"),
    [("PostgreSQL", "postgres"), ("KingbaseES", "postgres"), ("MariaDB", "mysql"), ("Microsoft SQL Server", "tsql"),
     ("Oracle", "oracle"), ("DM DBMS", "dm"), ("DB2/LINUXX8664", "db2"), ("SQLite", "sqlite"), ("Ingres", "ansi")],
)  # fmt: skip
def test_a_server_is_known_by_its_product(product: str, name: str) -> None:
    assert named_by(product) == name


def test_names_and_texts_cannot_break_out() -> None:
    assert dialect("tsql").quote("a]b") == "[a]]b]"
    assert dialect("oracle").literal("it's") == "'it''s'"
    assert dialect("mysql").quote("a`b") == "`a``b`"
    assert dialect("mysql").literal("a\\'b") == "'a\\\\''b'"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tsql", ["SELECT a FROM [x] WITH (UPDLOCK, HOLDLOCK) WHERE b = 1"]),
        ("oracle", ["SELECT a FROM [x] WHERE b = 1 FOR UPDATE"]),
        ("db2", ["SELECT a FROM [x] WHERE b = 1 WITH RS USE AND KEEP UPDATE LOCKS"]),
    ],
)
def test_rows_are_locked_in_each_system_s_words(name: str, said: list[str]) -> None:
    assert dialect(name).portable("SELECT a FROM [x] WHERE b = 1 FOR UPDATE") == said
