"""Lists of a GraphQL API are datasets: found in its schema, read page by page, incrementally, and never in part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.graphql.settings import GraphqlSettings, from_url
from tongqu.connectors.graphql.source import GraphqlSource
from tongqu.core.data import Mode, Read, Split
from tongqu.core.errors import AnswerError, AuthError, InvalidSettingsError, NotFoundError
from tongqu.testing.services.graphql_api import SDL, GraphqlApi


@pytest.fixture
def api() -> Iterator[GraphqlApi]:
    with GraphqlApi() as made:
        for number in range(1, 36):
            made.order(number)
        yield made


def settings(api: GraphqlApi, **more: Any) -> GraphqlSettings:
    return GraphqlSettings.parse({"base_url": f"{api.url}/graphql", "page_size": 10, **more})


def rows(told: GraphqlSettings, name: str, **more: Any) -> pa.Table:
    source = GraphqlSource(told)
    try:
        (dataset,) = source.datasets([name])
        found = [batch.rows for batch in source.read(Read(dataset, Split("0", name), **more))]
        return pa.Table.from_batches(found)
    finally:
        source.close()


def test_a_schema_tells_its_lists(api: GraphqlApi) -> None:
    source = GraphqlSource(settings(api))
    found = {one.name: one for one in source.datasets()}
    source.close()
    assert sorted(found) == ["allOrders", "orderPage", "orders", "viewer.orders"]  # needy needs an argument
    assert found["orders"].key == ("id",)
    assert found["orders"].columns == ("id", "no", "qty", "amount", "status", "updatedAt", "customer")


@pytest.mark.parametrize("name", ["orders", "viewer.orders", "orderPage", "allOrders"])
def test_every_way_of_paging_reads_all_rows_once(api: GraphqlApi, name: str) -> None:
    told = settings(api)
    assert sorted(map(str, rows(told, name).column("no").to_pylist())) == [f"SO{n:04}" for n in range(1, 36)]


def test_fields_are_typed_by_the_schema_and_the_first_page(api: GraphqlApi) -> None:
    schema = rows(settings(api), "orders").schema
    assert schema.field("qty").type == pa.int64()
    assert schema.field("updatedAt").type == pa.timestamp("us", "UTC")
    assert not schema.field("id").nullable
    assert (schema.field("no").metadata or {})[b"tongqu.title"] == b"Order number"


def test_only_what_is_selected_is_asked_for(api: GraphqlApi) -> None:
    orders = {"field": "orders", "select": ["id", "customer.name"], "arguments": {"filter": {"status": "OPEN"}}}
    found = rows(settings(api, datasets={"open": orders}), "open")
    assert found.column_names == ["id", "customer"]
    assert "phone" not in api.calls[-1].body.decode()


def test_lists_in_records_are_datasets_of_their_own(api: GraphqlApi) -> None:
    orders = {"select": ["id", "lines.item", "lines.qty"], "key": "id", "nested": "children"}
    found = rows(settings(api, datasets={"orders": orders}), "orders.lines")
    assert found.num_rows == 35
    assert {"parent_id", "item", "qty"} <= set(found.column_names)


def test_changes_are_asked_for_by_an_argument(api: GraphqlApi) -> None:
    orders = {"incremental": {"cursor": "updatedAt", "param": "filter.updatedAt.gte"}}
    told = settings(api, datasets={"orders": orders})
    since, until = {"cursor": "2026-01-20T00:00:00+00:00"}, {"cursor": "2026-02-01T00:00:00+00:00"}
    source = GraphqlSource(told)
    (dataset,) = source.datasets()
    split = Split("0", "orders", {"after": since, "until": until})
    read = Read(dataset, split, mode=Mode.INCREMENTAL, cursor="updatedAt")
    found = pa.Table.from_batches([batch.rows for batch in source.read(read)])
    source.close()
    assert min(map(str, found.column("updatedAt").to_pylist())).startswith("2026-01-20")
    assert api.calls[-1].json()["variables"]["filter"] == {"updatedAt": {"gte": "2026-01-20T00:00:00Z"}}


def test_a_read_goes_on_after_a_page(api: GraphqlApi) -> None:
    source = GraphqlSource(settings(api))
    (dataset,) = source.datasets(["orders"])
    state = {"page": {"as": "cursor", "at": "20", "rows": 20}}
    read = Read(dataset, Split("0", "orders"), after=state)
    assert sum(batch.rows.num_rows for batch in source.read(read)) == 15
    source.close()


def test_errors_beside_data_fail_the_read(api: GraphqlApi) -> None:
    api.broken = {"12"}
    with pytest.raises(AnswerError, match="the amount of 12 is not to be had"):
        rows(settings(api), "orders")


def test_a_schema_file_stands_in_for_introspection(api: GraphqlApi, tmp_path: Path) -> None:
    api.introspection = False
    with pytest.raises(AnswerError, match="introspection is disabled") as told:
        rows(settings(api), "orders")
    assert "schema_file" in told.value.hint
    file = tmp_path / "orders.graphql"
    file.write_text(SDL)
    assert rows(settings(api, schema_file=str(file)), "orders").num_rows == 35


def test_what_is_not_there_is_named(api: GraphqlApi) -> None:
    with pytest.raises(NotFoundError, match="no field 'ordres'"):
        rows(settings(api, datasets={"x": {"field": "ordres"}}), "x")
    with pytest.raises(InvalidSettingsError, match="no field 'qtyy'"):
        rows(settings(api, datasets={"x": {"field": "orders", "select": ["qtyy"]}}), "x")
    with pytest.raises(InvalidSettingsError, match="no argument 'plant'"):
        rows(settings(api, datasets={"x": {"field": "orders", "arguments": {"plant": 1}}}), "x")
    with pytest.raises(InvalidSettingsError, match=r"has no 'created'"):
        incremental = {"cursor": "updatedAt", "param": "filter.created"}
        rows(settings(api, datasets={"x": {"field": "orders", "incremental": incremental}}), "x")


def test_a_bad_token_is_an_auth_error(api: GraphqlApi) -> None:
    api.token = "right"
    with pytest.raises(AuthError):
        rows(settings(api, auth={"bearer": {"token": "wrong"}}), "orders")


def test_a_url_says_it_all(api: GraphqlApi) -> None:
    told = from_url(f"graphql+{api.url}/graphql?page_size=5&depth=1")
    assert rows(told, "orders").column_names == ["id", "no", "qty", "amount", "status", "updatedAt"]
