"""Rows are written back by operations: once, with what the service said of each."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.soap.settings import SoapSettings
from tongqu.connectors.soap.sink import SoapSink
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.testing.pour import pour
from tongqu.testing.services.soap_orders import SoapOrders

SAVE = {
    "operation": "save_order", "arguments": {"order": "{*}", "call": "{@call}"}, "ok": "save_orderResult.code=0",
    "error": "save_orderResult.message", "id": "save_orderResult.id",
}  # fmt: skip
LOOK = {"operation": "get_order", "arguments": {"id": "{id}"}, "record": "get_orderResult"}
WRITE = {"create": SAVE, "update": SAVE, "look": LOOK, "delete": {"operation": "delete_order"}, "key_honoured": True}
Found = tuple[Counts, list[dict[str, Any]]]


def put(api: SoapOrders, folder: Path, numbers: list[tuple[int, str, str]], write: Any = WRITE, **more: Any) -> Found:
    table = pa.table(
        {
            "id": pa.array([one for one, _, _ in numbers], pa.int64()),
            "no": [no for _, no, _ in numbers],
            "amount": pa.array([Decimal(amount) for _, _, amount in numbers], pa.decimal128(12, 2)),
        }
    )
    dataset = {"operation": "get_orders", "key": ["id"], "write": write}
    told = SoapSettings.parse({"base_url": api.url, "datasets": {"orders": dataset}})
    mode = more.pop("mode", WriteMode.UPSERT)
    asked = Write("orders", Dataset("orders", table.schema, key=("id",)), mode, "sync", more.pop("run", "run 1"),
                  key=("id",), incremental=mode is WriteMode.UPSERT)  # fmt: skip
    sink = SoapSink(told)
    sink.lodge(folder)
    try:
        return pour(sink, asked, [table]), sink.quarantined()
    finally:
        sink.close()


def test_new_records_are_created_and_known_ones_updated(api: SoapOrders, tmp_path: Path) -> None:
    counts, bad = put(api, tmp_path, [(24, "客户<&>", "9.99"), (25, "SO0025", "1.00")])
    assert (counts.inserted, counts.updated, bad) == (1, 1, [])
    assert (api.orders[24].no, api.orders[25].amount) == ("客户<&>", Decimal("1.00"))


def test_the_same_rows_again_have_no_effect(api: SoapOrders, tmp_path: Path) -> None:
    put(api, tmp_path, [(25, "SO0025", "1.00")])
    counts, _ = put(api, tmp_path, [(25, "SO0025", "1.00")], run="run 2")
    assert (counts.unchanged, api.effects) == (1, [("save", 25)])


def test_what_the_service_refuses_is_quarantined_in_its_words(api: SoapOrders, tmp_path: Path) -> None:
    counts, (bad,) = put(api, tmp_path, [(25, "SO0025", "-1.00"), (26, "SO0026", "1.00")])
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert "金额不能为负" in bad["message"]


def test_a_replace_deletes_what_did_not_come(api: SoapOrders, tmp_path: Path) -> None:
    counts, bad = put(api, tmp_path, [(1, "SO0001", "1.50")], mode=WriteMode.REPLACE)
    assert (counts.deleted, bad, list(api.orders)) == (23, [], [1])


def test_a_dataset_without_operations_is_not_written(api: SoapOrders, tmp_path: Path) -> None:
    with pytest.raises(InvalidPlanError, match="nothing says"):
        put(api, tmp_path, [], None)


def test_an_unknown_operation_is_told_with_a_near_one(api: SoapOrders, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError, match="no operation 'save_orders'") as caught:
        put(api, tmp_path, [], {"create": {"operation": "save_orders"}})
    assert "save_order" in caught.value.hint
