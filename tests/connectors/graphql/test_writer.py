"""Rows are written back by mutations: once, with what the API said of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.graphql.settings import GraphqlSettings
from tongqu.connectors.graphql.sink import GraphqlSink
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.testing.pour import pour
from tongqu.testing.services.graphql_api import GraphqlApi

MUTATIONS = {
    "create": {"mutation": "createOrder"},
    "update": {"mutation": "updateOrder"},
    "delete": {"mutation": "deleteOrder"},
    "look": {"field": "order"},
}
Found = tuple[Counts, list[dict[str, Any]]]


@pytest.fixture
def api() -> Iterator[GraphqlApi]:
    with GraphqlApi() as made:
        made.order(1)
        made.order(2)
        yield made


def put(
    api: GraphqlApi,
    folder: Path,
    rows: list[dict[str, Any]],
    write: Any,
    mode: WriteMode = WriteMode.UPSERT,
    *,
    run: str = "run 1",
) -> Found:
    dataset = {"field": "orders", "write": write}
    told = GraphqlSettings.parse({"base_url": f"{api.url}/graphql", "datasets": {"orders": dataset}})
    table = pa.Table.from_pylist(rows)
    asked = Write("orders", Dataset("orders", table.schema, key=("id",)), mode, "sync", run, key=("id",),
                  incremental=mode is WriteMode.UPSERT)  # fmt: skip
    sink = GraphqlSink(told)
    sink.lodge(folder)
    try:
        return pour(sink, asked, [table]), sink.quarantined()
    finally:
        sink.close()


def test_new_rows_are_created_and_known_ones_updated(api: GraphqlApi, tmp_path: Path) -> None:
    rows = [{"id": "2", "no": "SO2", "qty": 9}, {"id": "3", "no": "SO3", "qty": 1}]
    counts, bad = put(api, tmp_path, rows, MUTATIONS)
    assert (counts.inserted, counts.updated, bad) == (1, 1, [])
    assert sorted(api.effects) == [("create", "3"), ("update", "2")]
    assert api.orders["2"]["qty"] == 9


def test_the_same_rows_again_have_no_effect(api: GraphqlApi, tmp_path: Path) -> None:
    rows = [{"id": "3", "no": "SO3", "qty": 1}]
    put(api, tmp_path, rows, MUTATIONS)
    counts, _ = put(api, tmp_path, rows, MUTATIONS, run="run 2")
    assert counts.unchanged == 1
    assert api.effects == [("create", "3")]


def test_a_refused_row_is_quarantined_with_the_apis_words(api: GraphqlApi, tmp_path: Path) -> None:
    rows = [{"id": "3", "no": "", "qty": 1}, {"id": "4", "no": "SO4", "qty": 1}]
    counts, bad = put(api, tmp_path, rows, MUTATIONS)
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert (bad[0]["field"], "an order needs a number" in bad[0]["message"]) == ("no", True)


def test_replace_deletes_what_the_source_lacks(api: GraphqlApi, tmp_path: Path) -> None:
    counts, _ = put(api, tmp_path, [{"id": "2", "no": "SO2", "qty": 2}], MUTATIONS, WriteMode.REPLACE)
    assert list(api.orders) == ["2"]
    assert counts.written == 2  # one updated, one deleted


def test_variables_may_be_spelled_out(api: GraphqlApi, tmp_path: Path) -> None:
    told = {"mutation": "createOrder", "variables": {"input": {"id": "{id}", "no": "{no}", "status": "PAID"}},
            "select": "order { id }"}  # fmt: skip
    put(api, tmp_path, [{"id": "7", "no": "SO7", "qty": 1}], {"create": told}, WriteMode.APPEND)
    assert api.orders["7"]["status"] == "PAID"


def test_what_the_schema_does_not_have_is_refused(api: GraphqlApi, tmp_path: Path) -> None:
    rows = [{"id": "3", "no": "SO3", "qty": 1}]
    with pytest.raises(InvalidSettingsError, match="no mutation 'createOrdr'"):
        put(api, tmp_path, rows, {"create": {"mutation": "createOrdr"}})
    with pytest.raises(InvalidPlanError, match="nothing says how 'orders' is written"):
        put(api, tmp_path, rows, None)
    assert api.effects == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"data": {"createOrder": {"order": None}}, "errors": [{"message": "no supplier"}]}, "call.unknown"),
        ({"data": None, "errors": [{"message": "no name", "path": ["createOrder", "order", "name"]}]}, "call.unknown"),
        ({"data": None, "errors": [{"message": "not allowed", "path": ["createOrder"]}]}, "call.refused"),
        ({"errors": [{"message": "no such field"}]}, "call.refused"),
    ],
)
def test_an_error_after_the_mutation_is_no_refusal(
    api: GraphqlApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, code: str
) -> None:
    """The mutation was carried out and reading its value failed: sent again, it would have its effect twice."""
    monkeypatch.setattr("tongqu.connectors.graphql.writer._document", lambda reply: answer)
    _, bad = put(api, tmp_path, [{"id": "3", "no": "SO3", "qty": 1}], {"create": {"mutation": "createOrder"}},
                 WriteMode.APPEND)  # fmt: skip
    assert [row["code"] for row in bad] == [code]
