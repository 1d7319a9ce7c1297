"""Operations that give lists are datasets: typed by the WSDL, paged by arguments, read incrementally, never in part."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.soap.settings import SoapSettings, from_url
from tongqu.connectors.soap.source import SoapSource
from tongqu.core.data import Mode, Read, Split
from tongqu.core.errors import CallRefusedError, ConnectorError, InvalidSettingsError, PeerFailedError
from tongqu.testing.services.soap_orders import Line, SoapOrders

PAGES = {"kind": "page", "param": "page", "size_param": "size", "size": 10}


def settings(api: SoapOrders, **dataset: Any) -> SoapSettings:
    told = {"operation": "get_orders", "key": ["id"], "types": {"amount": "decimal(12,2)"}, **dataset}
    return SoapSettings.parse({"base_url": api.url, "datasets": {"orders": told}})


def rows(told: SoapSettings, name: str = "orders", **more: Any) -> pa.Table:
    source = SoapSource(told)
    try:
        (dataset,) = source.datasets([name])
        return pa.Table.from_batches([b.rows for b in source.read(Read(dataset, Split("0", name), **more))])
    finally:
        source.close()


@pytest.mark.parametrize("version", [11, 12])
def test_records_are_typed_by_the_wsdl(version: int) -> None:
    with SoapOrders(version) as api:
        api.put(3, changed=None)
        found = rows(settings(api))
    assert found.to_pylist() == [
        {
            "@kind": "A", "id": 3, "no": "SO0003", "amount": Decimal("3.50"), "open": True, "changed": None,
            "lines": '[{"item":"A","qty":3}]',
        }
    ]  # fmt: skip
    assert found.schema.field("changed").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize("paging", [None, PAGES])
def test_all_records_are_read_once(api: SoapOrders, paging: Any) -> None:
    assert set(rows(settings(api, paging=paging)).column("id").to_pylist()) == set(range(1, 25))


def test_changes_are_asked_for_by_an_argument(api: SoapOrders) -> None:
    told = settings(api, incremental={"cursor": "changed", "param": "since"})
    source = SoapSource(told)
    (dataset,) = source.datasets(["orders"])
    spec = {"after": {"cursor": "2026-01-20T08:00:00+00:00"}, "until": {"cursor": "2026-01-22T08:00:00+00:00"}}
    read = Read(dataset, Split("0", "orders", spec), mode=Mode.INCREMENTAL, cursor="changed")
    found = [one for batch in source.read(read) for one in batch.rows.column("id").to_pylist()]
    source.close()
    assert found == [20, 21, 22]
    assert b"2026-01-20T08:00:00Z" in api.asked[-1]


def test_lists_in_records_are_datasets(api: SoapOrders) -> None:
    api.put(25 - 1, lines=[Line(item="A", qty=1), Line(item="B", qty=2)])
    found = rows(settings(api, nested="children"), "orders.lines")
    assert found.num_rows == 25
    assert found.slice(23, 2).select(["parent_id", "item"]).to_pylist() == [
        {"parent_id": 24, "item": "A"},
        {"parent_id": 24, "item": "B"},
    ]


def test_only_operations_that_read_are_found(api: SoapOrders) -> None:
    source = SoapSource(SoapSettings(base_url=api.url))
    del api.orders[1]
    names = source._catalog.names()
    source.close()
    assert "save_order" not in names
    assert "get_orders" in names


def test_check_passes_stage_by_stage(api: SoapOrders) -> None:
    source = SoapSource(settings(api))
    assert list(source.check()) == ["dns", "tcp", "wsdl (5 operations)", "sample orders"]
    source.close()


@pytest.mark.parametrize(("code", "kind"), [("Client.Bad", CallRefusedError), ("Server", PeerFailedError)])
def test_a_fault_is_an_error_by_its_code(api: SoapOrders, code: str, kind: type[ConnectorError]) -> None:
    told = {"bad": {"operation": "list_failing", "arguments": {"code": code}}}
    with pytest.raises(kind, match="数据库不可用") as caught:
        rows(SoapSettings.parse({"base_url": api.url, "datasets": told}), "bad")
    assert "ORA-01034" in caught.value.hint
    assert len(api.asked) == 2  # for the sample and for the read: a fault is not tried again


def test_arguments_that_the_wsdl_lacks_are_told(api: SoapOrders) -> None:
    with pytest.raises(InvalidSettingsError, match="no argument 'pages'"):
        rows(settings(api, arguments={"pages": 1}))


def test_arguments_of_another_shape_are_told(api: SoapOrders) -> None:
    told = {"operation": "get_order", "arguments": {"id": {"x": 1}}, "records": "get_orderResult"}
    with pytest.raises((ConnectorError, InvalidSettingsError)):
        rows(SoapSettings.parse({"base_url": api.url, "datasets": {"orders": told}}))


def test_a_url_says_it_all() -> None:
    told = from_url("soap+https://me:s%40crt@erp.example/orders?wsdl")
    assert told.base_url == "https://erp.example/orders?wsdl"
    assert "s@crt" not in repr(told)


def test_a_read_follows_the_instants_of_the_service(api: SoapOrders) -> None:
    found = rows(settings(api)).column("changed").to_pylist()
    assert found[0] == datetime(2026, 1, 1, 8, tzinfo=UTC)
