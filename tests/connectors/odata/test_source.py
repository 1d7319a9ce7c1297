"""Entity sets are datasets: typed by $metadata, read over the service's pages, by changes and by delta links."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.odata import connector
from tongqu.connectors.odata.service import Service
from tongqu.connectors.odata.settings import ODataSettings, from_url
from tongqu.connectors.odata.source import ODataSource
from tongqu.core.data import Batch, Mode, Position, Read, Split
from tongqu.core.errors import AnswerError, InvalidSettingsError, LostPositionError, SchemaError
from tongqu.kit.http.call import Call
from tongqu.testing.services.http_peer import HttpPeer, Out
from tongqu.testing.services.odata_api import ODataApi

ORDERS = {
    "No": "Edm.String", "Amount": "Edm.Decimal;16;3", "Qty": "Edm.Int64", "Changed": "Edm.DateTimeOffset",
    "Day": "Edm.DateTime", "At": "Edm.Time", "Id": "Edm.Guid", "Photo": "Edm.Binary", "Open": "Edm.Boolean",
}  # fmt: skip


@pytest.fixture
def sap() -> Iterator[ODataApi]:
    """Version 2, 10 entities a page, values as SAP writes them."""
    with ODataApi(2, page=10) as api:
        api.table("Orders", ORDERS, ("No",))
        for number in range(1, 36):
            ticks = 1767225600123 + number * 86_400_000
            api.put(
                "Orders", No=f"{number:04}", Amount=f"{number}.500", Qty=str(2**60 + number),
                Changed=f"/Date({ticks}+0480)/", Day=f"/Date({ticks - 123})/", At="PT08H30M05S",
                Id="005056a2-1234-1ed9-a0b1-000000000001", Photo="AAEC", Open=True,
            )  # fmt: skip
        yield api


@pytest.fixture
def four() -> Iterator[ODataApi]:
    """Version 4, 10 entities a page."""
    with ODataApi(4, page=10) as api:
        api.table("Orders", {"Id": "Edm.Int32", "Changed": "Edm.DateTimeOffset", "Photo": "Edm.Binary"}, ("Id",))
        for number in range(1, 26):
            api.put("Orders", Id=number, Changed=f"2026-01-{number:02}T08:00:00Z", Photo="_-8=")
        yield api


def settings(api: ODataApi, **more: Any) -> ODataSettings:
    return ODataSettings.parse({"base_url": api.root, **more})


def rows(told: ODataSettings, name: str = "Orders", **more: Any) -> pa.Table:
    source = ODataSource(told)
    try:
        (dataset,) = source.datasets([name])
        return pa.Table.from_batches([b.rows for b in source.read(Read(dataset, Split("0", name), **more))])
    finally:
        source.close()


def test_values_of_version_2_are_exact(sap: ODataApi) -> None:
    found = rows(settings(sap))
    assert found.num_rows == 35
    assert found.slice(0, 1).to_pylist() == [
        {
            "No": "0001", "Amount": Decimal("1.500"), "Qty": 2**60 + 1,
            "Changed": datetime(2026, 1, 2, 0, 0, 0, 123000, tzinfo=UTC),
            "Day": datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None),
            "At": time(8, 30, 5), "Id": "005056a2-1234-1ed9-a0b1-000000000001", "Photo": b"\x00\x01\x02", "Open": True,
        }
    ]  # fmt: skip
    assert found.schema.field("Amount").type == pa.decimal128(16, 3)
    assert not found.schema.field("No").nullable


def test_the_service_pages_are_followed(sap: ODataApi) -> None:
    rows(settings(sap))
    asked = [call for call in sap.calls if call.path == "/svc/Orders"]
    assert [call.query.get("$skiptoken") for call in asked] == [None, "10", "20", "30"]
    assert asked[0].headers["prefer"] == "odata.maxpagesize=1000"


def test_pages_can_be_asked_for_by_number(sap: ODataApi) -> None:
    sap.page = 0
    assert rows(settings(sap, paging="client", page_size=8)).num_rows == 35
    asked = [call.query for call in sap.calls if call.path == "/svc/Orders"]
    assert (asked[1]["$skip"], asked[1]["$top"], asked[1]["$orderby"]) == ("8", "8", "No")


def test_only_chosen_properties_are_asked_for(sap: ODataApi) -> None:
    told = settings(sap, datasets={"few": {"path": "Orders", "select": ["Qty"], "filter": "Open eq true"}})
    assert rows(told, "few").column_names == ["No", "Qty"]
    query = next(call.query for call in sap.calls if call.path == "/svc/Orders")
    assert (query["$select"], query["$filter"]) == ("No,Qty", "Open eq true")


def changes(told: ODataSettings, after: Position | None) -> tuple[list[Any], Position]:
    """The numbers of the changed orders, and the position after them."""
    source = ODataSource(told)
    try:
        (dataset,) = source.datasets(["Orders"])
        assert dataset.cursor is not None
        until = source.horizon(dataset, dataset.cursor, after)
        assert until is not None
        split = Split("0", "Orders", {"after": after, "until": until})
        read = Read(dataset, split, mode=Mode.INCREMENTAL, cursor=dataset.cursor)
        found = [one for batch in source.read(read) for one in batch.rows.column(dataset.key[0]).to_pylist()]
        return found, until
    finally:
        source.close()


def test_changes_are_asked_for_by_a_filter_in_the_words_of_version_2(sap: ODataApi) -> None:
    told = settings(sap, datasets={"Orders": {"filter": "Open eq true", "incremental": {"cursor": "Day"}}})
    first, position = changes(told, None)
    assert (len(first), position) == (35, {"cursor": "2026-02-05T00:00:00"})
    sap.put("Orders", **{**sap.rows["Orders"][("0003",)], "Day": "/Date(1772323200000)/"})
    changes(told, position)
    filters = [call.query.get("$filter", "") for call in sap.calls if call.path == "/svc/Orders"]
    assert filters[-1] == "(Open eq true) and (Day ge datetime'2026-02-05T00:00:00')"


def test_changes_of_version_4_are_asked_for_by_instant(four: ODataApi) -> None:
    told = settings(four, datasets={"Orders": {"incremental": {"cursor": "Changed", "latest": "scan"}}})
    _, position = changes(told, {"cursor": "2026-01-20T08:00:00+00:00"})
    asked = next(call.query["$filter"] for call in four.calls if "$filter" in call.query)
    assert asked == "Changed ge 2026-01-20T08:00:00Z"
    assert position == {"cursor": "2026-01-25T08:00:00+00:00"}


def test_an_entity_without_cursor_stops_the_read(four: ODataApi) -> None:
    four.put("Orders", Id=99, Changed=None, Photo=None)
    told = settings(four, datasets={"Orders": {"incremental": {"cursor": "Changed", "latest": "scan"}}})
    with pytest.raises(SchemaError, match="Changed"):
        changes(told, None)


def test_binary_of_version_4_is_base64url(four: ODataApi) -> None:
    assert rows(settings(four)).column("Photo")[0].as_py() == b"\xff\xef"


# ---- delta links


def delta(told: ODataSettings, after: Position | None) -> list[Batch]:
    assert connector.source is not None
    source = connector.source(told)
    try:
        (dataset,) = source.datasets(["Orders"])
        until = source.horizon(dataset, "", after)
        split = Split("0", "Orders", {"after": after, "until": until})
        return list(source.read(Read(dataset, split, mode=Mode.INCREMENTAL)))
    finally:
        source.close()


def test_delta_links_tell_what_changed_and_what_is_gone(four: ODataApi) -> None:
    told = settings(four, delta=True)
    first = delta(told, None)
    assert sum(batch.rows.num_rows for batch in first) == 25
    four.put("Orders", Id=7, Changed="2026-03-01T00:00:00Z", Photo=None)
    four.drop("Orders", "9")
    second = delta(told, first[-1].position)
    found = [row for batch in second for row in batch.rows.select(["Id", "@removed"]).to_pylist()]
    assert found == [{"Id": 7, "@removed": None}, {"Id": 9, "@removed": "deleted"}]
    third = delta(told, second[-1].position)
    assert [batch.rows.num_rows for batch in third] == [0]


def test_a_delta_read_goes_on_after_any_page(four: ODataApi) -> None:
    assert connector.source is not None
    source = connector.source(settings(four, delta=True))
    (dataset,) = source.datasets(["Orders"])
    read = Read(dataset, Split("0", "Orders", {"after": None}), mode=Mode.INCREMENTAL)
    first = next(iter(source.read(read)))
    rest = list(source.read(Read(dataset, read.split, first.position, mode=Mode.INCREMENTAL)))
    source.close()
    assert first.rows.num_rows + sum(batch.rows.num_rows for batch in rest) == 25


@pytest.mark.parametrize("dies", [False, True])
def test_after_a_forgotten_delta_link_all_is_read_again_and_told(four: ODataApi, dies: bool) -> None:
    told = settings(four, delta=True)
    position = delta(told, None)[-1].position
    four.forgotten = True
    assert connector.source is not None
    source = connector.source(told)
    (dataset,) = source.datasets(["Orders"])
    read = Read(dataset, Split("0", "Orders", {"after": position}), mode=Mode.INCREMENTAL)
    batches = source.read(read)
    found = [next(batches)]
    if dies:  # and goes on in another process: the reason is told there too
        source.close()
        source = connector.source(told)
        batches = source.read(replace(read, after=found[0].position))
    four.forgotten = False
    found += list(batches)
    notice = source.notices["Orders"]
    source.close()
    assert sum(batch.rows.num_rows for batch in found) == 25
    assert "no longer knows the delta link" in notice.message
    assert "all entities were read again" in notice.message
    four.drop("Orders", "9")
    after = delta(told, found[-1].position)
    assert [row["Id"] for batch in after for row in batch.rows.to_pylist()] == [9]


def test_rows_that_would_come_twice_are_not_read_again(four: ODataApi) -> None:
    told = settings(four, delta=True)
    position = delta(told, None)[-1].position
    four.forgotten = True
    assert connector.source is not None
    source = connector.source(told)
    (dataset,) = source.datasets(["Orders"])
    read = Read(dataset, Split("0", "Orders", {"after": position}), mode=Mode.INCREMENTAL, ties=False)
    with pytest.raises(LostPositionError, match="delta link"):
        list(source.read(read))
    source.close()


def test_delta_tokens_of_version_2_tell_what_changed_and_what_is_gone(sap: ODataApi) -> None:
    told = settings(sap, delta=True)
    first = delta(told, None)
    assert sum(batch.rows.num_rows for batch in first) == 35
    sap.put("Orders", **{**sap.rows["Orders"][("0007",)], "Amount": "0.250"})
    sap.drop("Orders", "0009")
    second = delta(told, first[-1].position)
    found = [row for batch in second for row in batch.rows.select(["No", "Amount", "@removed"]).to_pylist()]
    assert found == [
        {"No": "0007", "Amount": Decimal("0.250"), "@removed": None},
        {"No": "0009", "Amount": None, "@removed": "deleted"},
    ]
    assert "!deltatoken" in next(call.target for call in reversed(sap.calls) if call.path == "/svc/Orders")


@pytest.mark.parametrize(
    "line",
    [
        {"@removed": {"reason": "changed"}, "@id": "http://x/Lines(No='A''b',Item=2)"},
        {"@odata.removed": {}, "No": "A'b", "Item": 2},
        {"@odata.context": "$metadata#Lines/$deletedEntity", "id": "Lines(No='A''b',Item=2L)", "reason": "deleted"},
        {"__metadata": {"uri": "http://x/Lines(No='A''b',Item=2M)", "deleted": True}},
    ],
)
def test_deleted_entities_are_told_in_every_way_there_is(line: dict[str, Any]) -> None:
    with ODataApi(4) as api:
        api.table("Lines", {"No": "Edm.String", "Item": "Edm.Int32"}, ("No", "Item"))
        api.put("Lines", No="A'b", Item=2)
        told = settings(api, delta=True, datasets={"Orders": {"path": "Lines"}})
        position = delta(told, None)[-1].position
        api._delta = lambda *_: [line]  # type: ignore[method-assign]  # as another service tells it
        (batch,) = delta(told, position)
    assert [(row["No"], row["Item"]) for row in batch.rows.to_pylist()] == [("A'b", 2)]
    assert batch.rows.column("@removed")[0].as_py() in ("changed", "deleted")


def test_a_text_that_says_deleted_is_no_deletion(four: ODataApi) -> None:
    four.table("Orders", {"deleted": "Edm.Boolean"}, ("Id",))
    told = settings(four, delta=True)
    position = delta(told, None)[-1].position
    four.put("Orders", Id=3, deleted=True)
    (batch,) = delta(told, position)
    assert batch.rows.select(["Id", "deleted", "@removed"]).to_pylist() == [
        {"Id": 3, "deleted": True, "@removed": None}
    ]


def test_delta_links_need_the_pages_of_the_service(four: ODataApi) -> None:
    with pytest.raises(InvalidSettingsError, match="paging: server"):
        settings(four, delta=True, paging="client")


# ---- evil services

EDMX = b'<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0"/>'
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><edmx:Edmx>&b;</edmx:Edmx>'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BOMB, "document type"),
        (b"<html><body>Please log in</body></html>", "no metadata"),
        (b"Please log in", "no XML"),
        (b"<a>" * 200, "deeper"),
        (EDMX, "no entity set"),
    ],
)
def test_what_is_no_metadata_is_refused(body: bytes, said: str) -> None:
    def answer(_: Any, out: Out) -> None:
        out.answer(200, body, Content_Type="application/xml")

    with HttpPeer({"/svc/$metadata": answer}) as peer:
        source = ODataSource(ODataSettings.parse({"base_url": f"{peer.url}/svc"}))
        with pytest.raises(AnswerError, match=said):
            source.datasets()
        source.close()


def test_a_cut_off_expanded_list_is_never_taken_for_all_of_it(sap: ODataApi) -> None:
    sap.table("Lines", {"No": "Edm.String", "Items": "Edm.Untyped"}, ("No",))
    sap.put("Lines", No="1", Items={"results": [{"Item": "10"}], "__next": "http://x/more"})
    with pytest.raises(AnswerError, match="pages of its own"):
        rows(settings(sap), "Lines")


def test_expanded_lists_of_version_2_are_arrays(sap: ODataApi) -> None:
    sap.table("Lines", {"No": "Edm.String", "Items": "Edm.Untyped"}, ("No",))
    sap.put("Lines", No="1", Items={"results": [{"__metadata": {"uri": "x"}, "Day": "/Date(0)/"}]})
    assert rows(settings(sap), "Lines").column("Items").to_pylist() == ['[{"Day": "1970-01-01T00:00:00.000"}]']


def test_an_unknown_entity_set_is_told_with_a_near_one(sap: ODataApi) -> None:
    with pytest.raises(InvalidSettingsError, match="no entity set 'Order'") as caught:
        rows(settings(sap, datasets={"Order": {}}), "Order")
    assert "Orders" in caught.value.hint


def test_a_url_says_it_all() -> None:
    told = from_url("odata+https://me:s%40crt@sap.example/sap/opu/odata/sap/X?sap-client=100&page_size=50")
    assert (told.base_url, told.query, told.page_size) == (
        "https://sap.example/sap/opu/odata/sap/X", {"sap-client": "100"}, 50,
    )  # fmt: skip
    assert "s@crt" not in repr(told)


# ---- somebody else's SAP


@pytest.fixture(scope="module")
def mock_sap() -> Iterator[str]:
    """mock-sap: Business Partner, Sales Order and other services in version 2 and 4, written by somebody else."""
    from mocksap.server import Config, make_server

    server = make_server(Config(host="127.0.0.1", port=0, quiet=True))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/sap/opu"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("odata/sap/API_SALES_ORDER_SRV", "A_SalesOrder"),
        ("odata4/sap/api_salesorder/srvd_a2x/sap/api_salesorder/0001", "SalesOrder"),
    ],
)
def test_sap_sales_orders_are_read_in_both_versions(mock_sap: str, path: str, name: str) -> None:
    told = ODataSettings.parse({"base_url": f"{mock_sap}/{path}", "query": {"sap-client": "100"}})
    found = rows(told, name)
    assert found.num_rows == 25
    assert found.schema.field("TotalNetAmount").type == pa.decimal128(16, 3)
    assert found.column("SalesOrder")[0].as_py() == "0000004712"


@pytest.mark.parametrize("version", [2, 4])
def test_deletions_of_sap_orders_arrive(own_sap: str, version: int) -> None:
    """mock-sap's own delta: `!deltatoken` in version 2, `$deltatoken` in version 4."""
    path, name = {
        2: ("odata/sap/API_SALES_ORDER_SRV", "A_SalesOrder"),
        4: ("odata4/sap/api_salesorder/srvd_a2x/sap/api_salesorder/0001", "SalesOrder"),
    }[version]
    told = ODataSettings.parse({"base_url": f"{own_sap}/{path}", "delta": True, "datasets": {"Orders": {"path": name}}})
    first = delta(told, None)
    (key, *_) = first[0].rows.column("SalesOrder").to_pylist()
    with closing(Service(told, None)) as service:
        place = service.url(f"{name}('{key}')")
        etag = service.send(Call("GET", place)).headers["etag"]
        service.change(Call("DELETE", place, headers={"If-Match": etag}))
    second = delta(told, first[-1].position)
    gone = [row for batch in second for row in batch.rows.to_pylist() if row["@removed"]]
    assert [row["SalesOrder"] for row in gone] == [key]


def test_items_of_sap_orders_are_datasets(mock_sap: str) -> None:
    dataset = {"expand": ["to_Item"], "nested": "children", "select": ["SalesOrder"]}
    told = ODataSettings.parse(
        {"base_url": f"{mock_sap}/odata/sap/API_SALES_ORDER_SRV", "datasets": {"A_SalesOrder": dataset}}
    )
    assert rows(told, "A_SalesOrder.to_Item").num_rows == 62
