"""The schema itself: names that GraphQL can hold, names that meet, types of fields, SQL sources with parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from graphql import assert_valid_schema
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.graphql.asking import Graphql
from tests.gateway.rest.plant import ACCESS, QUALITY, Plant, run

from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.graphql.exposed import exposed
from tongqu.gateway.graphql.names import graphql_name
from tongqu.gateway.graphql.scalars import filter_of, type_of
from tongqu.gateway.graphql.schema import schema_for
from tongqu.gateway.publication import Publication


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("lot_no", "lot_no"), ("line-no", "line_x002D_no"), ("重量", "_x91CD__x91CF_"), ("1st", "_x0031_st"),
        ("__x", "_x005F__x"), ("_x91CD_", "_x005F_x91CD_"), ("", "_x0000_"), ("😀", "_x0001F600_"),
    ],
)  # fmt: skip
def test_names(name: str, shown: str) -> None:
    assert graphql_name(name) == shown


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("a_xF0重1-", min_size=1, max_size=8), min_size=2, max_size=20, unique=True))
def test_two_names_never_become_one(names: list[str]) -> None:
    shown = [graphql_name(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(name.isascii() and name.isidentifier() and not name.startswith("__") for name in shown)


@pytest.mark.parametrize(
    ("kind", "shown", "operators"),
    [
        (pa.int32(), "Int", "eq neq gt gte lt lte in isNull"),
        (pa.uint32(), "Int64", "eq neq gt gte lt lte in isNull"),
        (pa.decimal128(9, 2), "Decimal", "eq neq gt gte lt lte in isNull"),
        (pa.float32(), "Double", "eq neq gt gte lt lte in isNull"),
        (pa.string(), "String", "eq neq gt gte lt lte in like ilike match imatch isNull"),
        (pa.bool_(), "Boolean", "eq neq in isNull"),
        (pa.timestamp("us"), "LocalDateTime", "eq neq gt gte lt lte in isNull"),
        (pa.timestamp("us", "UTC"), "DateTime", "eq neq gt gte lt lte in isNull"),
        (pa.time64("us"), "Time", "eq neq gt gte lt lte in isNull"),
        (pa.binary(), "Bytes", "eq neq isNull"),
        (pa.list_(pa.string()), "[String]", "contains containedBy overlaps isNull"),
        (pa.struct([("a", pa.int8())]), "JSON", "isNull"),
    ],
)
def test_types_and_what_can_be_asked_of_them(kind: pa.DataType, shown: str, operators: str) -> None:
    field = pa.field("f", kind)
    assert str(type_of(field)) == shown
    assert " ".join(filter_of(field).fields) == operators


def test_apis_may_be_named_like_anything(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        names = [
            "items",
            "items_page",
            "items_by_key",
            "items_where",
            "String",
            "Query",
            "Int64Filter",
            "PageInfo",
            "a-b",
        ]
        apis = {("v1", name): replace(there.api("defects"), name=name, relations={}) for name in names}
        there.publication = Publication("8", apis)
        schema = schema_for(exposed(there.publication, "v1", QUALITY))
        assert schema is not None
        assert_valid_schema(schema)
        gql = Graphql(there)
        for name in (*names[:-1], "a_x002D_b"):
            told = await gql.data(f"{{{name}{{totalCount}} {name}_groups{{count}}}}")
            assert told == {name: {"totalCount": 4}, f"{name}_groups": [{"count": 4}]}
        assert "items_by_key_" in await gql.data("{items_by_key_(item_id:1,no:1){word}}")

    run(tmp_path, work)


def test_sql_sources_take_their_parameters(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        sql = "SELECT id, lot, plant FROM items WHERE id >= :least AND lot LIKE :form"
        parameters = {"least": {"type": "int64"}, "form": {"type": "string", "default": "L%", "description": "a lot"}}
        source = {"connection": "c", "query": sql, "parameters": parameters}
        entry = ApiEntry.parse({"source": source, "access": dict(ACCESS["items"])})
        items = there.api("items")
        dataset = replace(
            items.dataset, schema=pa.schema([items.dataset.schema.field(n) for n in ("id", "lot", "plant")])
        )
        api = replace(
            items, name="late", entry=entry, table="", sql=sql, dataset=dataset, relations={},
            parameters={"least": pa.int64(), "form": pa.string()},
        )  # fmt: skip
        there.publication = Publication("8", {("v1", "late"): api})
        gql = Graphql(there)
        two = '{late(arguments:{least:3}){nodes{id}} b:late(arguments:{least:"1",form:"L1"}){nodes{id}}}'
        assert await gql.data(two) == {
            "late": {"nodes": [{"id": 3}, {"id": 5}]}, "b": {"nodes": [{"id": 1}]}
        }  # fmt: skip
        assert await gql.code("{late{nodes{id}}}") == "query.invalid"
        assert await gql.code('{late(arguments:{least:"x"}){nodes{id}}}') == "query.invalid"
        assert await gql.code("{late_by_key(id:1){id}}") == "field.unknown"

    run(tmp_path, work)
