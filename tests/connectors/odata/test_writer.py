"""Rows are written back entity by entity: with a token, with ETags, once, and with what the service said of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.odata.settings import ODataSettings
from tongqu.connectors.odata.sink import ODataSink
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.answers.selecting import written
from tongqu.testing.pour import pour
from tongqu.testing.services.odata_api import ODataApi

ORDERS = {
    "No": "Edm.String", "Item": "Edm.Int64", "Amount": "Edm.Decimal;16;3", "Day": "Edm.DateTime", "At": "Edm.Time",
    "Changed": "Edm.DateTimeOffset",
}  # fmt: skip
Found = tuple[Counts, list[dict[str, Any]]]


@pytest.fixture
def sap() -> Iterator[ODataApi]:
    """Version 2 with tokens and ETags."""
    with ODataApi(2, csrf=True, guarded=True) as api:
        api.table("Items", ORDERS, ("No", "Item"))
        yield api


def put(
    told: ODataSettings, folder: Path, name: str, table: pa.Table, key: tuple[str, ...], *,
    mode: WriteMode = WriteMode.UPSERT, run: str = "run 1",
) -> Found:  # fmt: skip
    dataset = Dataset(name, table.schema, key=key)
    asked = Write(name, dataset, mode, "sync", run, key=key, incremental=mode is WriteMode.UPSERT)
    sink = ODataSink(told)
    sink.lodge(folder)
    try:
        return pour(sink, asked, [table]), sink.quarantined()
    finally:
        sink.close()


def items(amount: str = "1.5") -> pa.Table:
    return pa.table(
        {
            "No": ["A/1'x"], "Item": pa.array([10], pa.int64()),
            "Amount": pa.array([Decimal(amount)], pa.decimal128(16, 3)),
            "Day": pa.array([1767312000000], pa.timestamp("ms")),
            "At": pa.array([time(8, 30, 5)], pa.time64("us")),
            "Changed": pa.array([datetime(2026, 1, 2, 0, 0, 0, 123000, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        }
    )  # fmt: skip


def test_values_go_as_version_2_writes_them(sap: ODataApi, tmp_path: Path) -> None:
    counts, bad = put(ODataSettings(base_url=sap.root), tmp_path, "Items", items(), ("No", "Item"))
    assert (counts.inserted, bad) == (1, [])
    assert written(sap.rows["Items"][("A/1'x", "10")]) == (
        '{"No":"A/1\'x","Item":"10","Amount":"1.500","Day":"/Date(1767312000000)/","At":"PT08H30M05S",'
        '"Changed":"/Date(1767312000123+0000)/"}'
    )


def test_a_change_names_the_etag_it_was_made_for(sap: ODataApi, tmp_path: Path) -> None:
    told = ODataSettings(base_url=sap.root)
    put(told, tmp_path, "Items", items(), ("No", "Item"))
    counts, bad = put(told, tmp_path, "Items", items("2.5"), ("No", "Item"), run="run 2")
    assert (counts.updated, bad) == (1, [])
    merge = next(call for call in sap.calls if call.method == "MERGE")
    assert merge.headers["if-match"] == 'W/"1"'
    assert merge.path == "/svc/Items(No='A/1''x',Item=10L)"
    assert "No" not in merge.json()


def test_a_token_that_ran_out_is_fetched_again(sap: ODataApi, tmp_path: Path) -> None:
    told = ODataSettings(base_url=sap.root)
    sink = ODataSink(told)
    sink.lodge(tmp_path)
    assert list(sink.check())[-1] == "csrf"
    sap.token = "T2"
    dataset = Dataset("Items", items().schema, key=("No", "Item"))
    counts = pour(sink, Write("Items", dataset, WriteMode.UPSERT, "sync", "run 1", key=("No", "Item")), [items()])
    sink.close()
    assert counts.inserted == 1
    assert [call.headers["x-csrf-token"] for call in sap.calls if call.method == "POST"] == ["T1", "T2"]


def test_what_the_service_refuses_is_quarantined_in_its_words(sap: ODataApi, tmp_path: Path) -> None:
    told = ODataSettings(base_url=sap.root)
    put(told, tmp_path / "a", "Items", items(), ("No", "Item"))
    counts, (bad,) = put(told, tmp_path / "b", "Items", items(), ("No", "Item"), mode=WriteMode.APPEND)
    assert counts.quarantined == 1
    assert "there is an entity of that key" in bad["message"]


def test_an_instant_that_version_2_cannot_write_is_refused(sap: ODataApi, tmp_path: Path) -> None:
    fine = items().set_column(3, "Day", pa.array([1], pa.timestamp("us")))
    counts, (bad,) = put(ODataSettings(base_url=sap.root), tmp_path, "Items", fine, ("No", "Item"))
    assert (counts.quarantined, bad["field"]) == (1, "Day")


def test_nothing_is_deleted_unless_it_may_be(sap: ODataApi, tmp_path: Path) -> None:
    with pytest.raises(InvalidPlanError, match="replace"):
        put(ODataSettings(base_url=sap.root), tmp_path, "Items", items(), ("No", "Item"), mode=WriteMode.REPLACE)


def test_a_column_that_is_no_property_is_told_before_any_call(sap: ODataApi, tmp_path: Path) -> None:
    with pytest.raises(InvalidPlanError, match="no property 'Nos'"):
        put(
            ODataSettings(base_url=sap.root),
            tmp_path,
            "Items",
            items().rename_columns(["Nos", *items().column_names[1:]]),
            ("Nos", "Item"),
        )


@pytest.fixture(scope="module")
def mock_sap() -> Iterator[str]:
    """mock-sap, which refuses changes without a token or an ETag."""
    from mocksap.server import Config, make_server

    server = make_server(Config(host="127.0.0.1", port=0, quiet=True, require_if_match=True))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/sap/opu/odata/sap/API_SALES_ORDER_SRV"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_sap_sales_order_is_changed_under_its_etag(mock_sap: str, tmp_path: Path) -> None:
    table = pa.table({"SalesOrder": ["0000004712"], "PurchaseOrderByCustomer": ["PO-客户-1"]})
    told = ODataSettings.parse({"base_url": mock_sap, "query": {"sap-client": "100"}})
    counts, bad = put(told, tmp_path, "A_SalesOrder", table, ("SalesOrder",))
    assert (counts.updated, bad) == (1, [])
    counts, bad = put(told, tmp_path / "again", "A_SalesOrder", table, ("SalesOrder",))
    assert (counts.unchanged + counts.updated, bad) == (1, [])


def test_what_sap_sets_by_itself_is_not_written(mock_sap: str, tmp_path: Path) -> None:
    table = pa.table({"SalesOrder": ["0000004712"], "CreatedByUser": ["ME"]})
    with pytest.raises(InvalidPlanError, match="by itself"):
        put(ODataSettings(base_url=mock_sap), tmp_path, "A_SalesOrder", table, ("SalesOrder",))
