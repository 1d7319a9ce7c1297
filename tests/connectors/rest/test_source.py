"""Lists of an API are datasets: in every way of paging and format, cut and resumed, and when the API misbehaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.rest.settings import RestSettings, from_url
from tongqu.connectors.rest.source import RestSource
from tongqu.core.data import Batch, Mode, Position, Read, Split
from tongqu.core.errors import (
    AnswerError,
    AuthError,
    InvalidSettingsError,
    LostPositionError,
    NotFoundError,
    SchemaError,
)
from tongqu.testing.services.vendor_api import Reply, VendorApi

WAYS: dict[str, Any] = {
    "page": {"kind": "page", "size_param": "size", "size": 10, "total": "data.total"},
    "offset": {"kind": "offset", "size_param": "limit", "size": 10},
    "cursor": {"kind": "cursor", "next": "meta.next_cursor"},
    "link": "link",
    "next": {"kind": "next_url", "next": "@odata.nextLink"},
    "keyset": {"kind": "keyset", "field": "id"},
    "plain": "none",
    "ndjson": "none",
    "xml": {"kind": "offset"},
    "csv": {"kind": "page"},
}


MADE: list[RestSource] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


def made_of(api: VendorApi, datasets: dict[str, Any]) -> RestSource:
    MADE.append(RestSource(RestSettings.parse({"base_url": api.url, "datasets": datasets})))
    return MADE[-1]


def source(api: VendorApi, way: str = "page", **dataset: Any) -> RestSource:
    told = {"path": f"/{way}/items", "paging": WAYS[way], "key": ["id"], **dataset}
    return made_of(api, {"items": told})


def read(made: RestSource, name: str = "items", after: Position | None = None, **more: Any) -> list[Batch]:
    (dataset,) = made.datasets([name])
    (split,) = made.splits(dataset, 1)
    return list(made.read(Read(dataset, split, after=after, batch_rows=more.pop("batch_rows", 5), **more)))


def ids(batches: list[Batch], column: str = "id") -> list[Any]:
    return [value for batch in batches for value in batch.rows.column(column).to_pylist()]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_paging_and_format(vendor: VendorApi, way: str) -> None:
    made = source(vendor, way)
    batches = read(made)
    made.close()
    assert ids(batches) == list(range(1, 36))
    assert batches[0].rows.schema.types == [pa.int64(), pa.string()]
    assert not [bad for batch in batches for bad in batch.bad]


@pytest.mark.parametrize("way", WAYS)
def test_a_read_goes_on_after_any_page(vendor: VendorApi, way: str) -> None:
    batches = read(source(vendor, way))
    for cut, batch in enumerate(batches):
        if batch.position is not None:
            after = json.loads(json.dumps(batch.position))
            assert ids(batches[: cut + 1]) + ids(read(source(vendor, way), after=after)) == list(range(1, 36))


def test_the_first_page_is_asked_for_once(vendor: VendorApi) -> None:
    read(source(vendor))
    assert sorted(vendor.paths) == [f"/page/items?size=10{end}" for end in ("&page=1", "&page=2", "&page=3", "&page=4")]


def test_pages_whose_numbers_are_known_are_asked_for_together_and_come_in_order(vendor: VendorApi) -> None:
    order = [Event() for _ in range(5)]

    def late(way: str, number: int, reply: Reply) -> Reply:
        del way
        page = reply[0]["data"]["list"][0]["id"] // 10
        if page == 1:
            order[2].wait(5)  # the second page comes after the third
        order[page].set()
        del number
        return reply

    vendor.spoil = late
    assert ids(read(source(vendor))) == list(range(1, 36))


def test_values_are_typed_by_what_they_are(vendor: VendorApi) -> None:
    vendor.table("items", [{"id": 1, "at": "2026-01-31T08:00:00Z", "day": "2026-01-31", "n": 1.5, "ok": True,
                            "o": {"a": [1.10]}, "none": None}])  # fmt: skip
    (dataset,) = source(vendor, "plain").datasets()
    assert [str(one) for one in dataset.schema.types] == [
        "int64", "timestamp[us, tz=UTC]", "date32[day]", "double", "bool", "string", "string",
    ]  # fmt: skip
    assert read(source(vendor, "plain"))[0].rows.column("o").to_pylist() == ['{"a":[1.1]}']


def test_given_fields_need_no_look_and_leave_others_out(vendor: VendorApi) -> None:
    made = source(vendor, fields={"id": "string"})
    assert made.datasets()[0].columns == ("id",)
    assert vendor.calls == []
    assert ids(read(made))[:2] == ["1", "2"]


def test_a_document_that_is_wrong_about_types_is_corrected(vendor: VendorApi) -> None:
    vendor.table("items", [{"id": 1, "at": "2026-01-31 08:00:00", "n": "x"}])
    made = source(vendor, fields={"id": "string", "at": "timestamptz", "n": "int64"}, trust=False)
    assert [str(one) for one in made.datasets()[0].schema.types] == ["string", "timestamp[us]", "string"]


def test_an_empty_list_is_left_out_unless_it_is_named_or_its_fields_are_given(vendor: VendorApi) -> None:
    vendor.table("none", [])
    told = {"path": "/page/none", "paging": WAYS["page"], "key": "id"}
    made = made_of(vendor, {"none": told, "items": {"path": "/page/items", "paging": WAYS["page"]}})
    assert [one.name for one in made.datasets()] == ["items"]
    with pytest.raises(SchemaError, match="is empty, so its fields are not known"):
        made.datasets(["none"])
    assert ids(read(made_of(vendor, {"none": {**told, "fields": {"id": "int64"}}}), "none")) == []


def test_lists_in_records_are_datasets_of_their_own(vendor: VendorApi) -> None:
    vendor.table("items", [{"id": n, "lines": [{"no": n * 10 + k} for k in range(n)]} for n in range(1, 13)])
    made = source(vendor, nested="children")
    assert [one.name for one in made.datasets()] == ["items", "items.lines"]
    (lines,) = made.datasets(["items.lines"])
    assert lines.key == ("parent_id", "_index")
    assert len(ids(read(made, "items.lines"), "no")) == sum(range(1, 13))


def test_a_path_below_each_record_of_another_dataset(vendor: VendorApi) -> None:
    vendor.table("orders", [{"id": n, "no": f"N{n}"} for n in (1, 2, 3)])
    for n in (1, 2, 3):
        vendor.table(f"lines{n}", [{"id": k, "q": n} for k in range(1, 13 if n != 2 else 1)])
    parent = {"dataset": "orders", "values": {"order": "id"}, "keep": {"order": "id", "order_no": "no"}}
    paged = {"paging": WAYS["page"], "key": "id"}
    datasets = {
        "orders": {"path": "/page/orders", **paged},
        "lines": {"path": "/page/lines{order}", **paged, "parent": parent},
    }
    made = made_of(vendor, datasets)
    (lines,) = made.datasets(["lines"])
    assert (lines.columns, lines.key) == (("order", "order_no", "id", "q"), ("order", "order_no", "id"))
    batches = read(made, "lines")
    whole = [(row["order_no"], row["id"]) for batch in batches for row in batch.rows.to_pylist()]
    assert whole == [(f"N{n}", k) for n in (1, 3) for k in range(1, 13)]
    for cut, batch in enumerate(batches):
        if batch.position is not None:
            rest = read(made, "lines", after=json.loads(json.dumps(batch.position)))
            assert ids(batches[: cut + 1]) + ids(rest) == ids(batches), batch.position
    vendor.table("orders", [{"id": n, "no": f"N{n}"} for n in (3, 2, 1)])
    inside = next(
        batch.position for batch in batches if batch.position and (batch.position.get("page") or {}).get("at")
    )
    with pytest.raises(LostPositionError):
        read(made, "lines", after=inside)


def test_reference_data_is_asked_for_once_a_day(vendor: VendorApi, tmp_path: Path) -> None:
    for _ in range(3):
        made = source(vendor, cache_seconds=86_400)
        made.lodge(tmp_path)
        assert ids(read(made)) == list(range(1, 36))
        made.close()
    assert len(vendor.calls) == 4


@pytest.mark.parametrize(("way", "told"), [("plain", {"records": ""}), ("ndjson", {"format": "ndjson"})])
def test_one_long_answer_is_read_while_it_arrives(vendor: VendorApi, way: str, told: dict[str, str]) -> None:
    vendor.table("items", [{"id": n, "v": {"text": "x" * 100}} for n in range(1, 30_001)])
    made = source(vendor, way, **told)
    batches = read(made, batch_rows=65_536)
    assert ids(batches) == list(range(1, 30_001))
    assert [batch.position for batch in batches[:-2]] == [None] * (len(batches) - 2)


def test_a_resumed_read_asks_for_the_same_records(vendor: VendorApi) -> None:
    made = source(vendor)
    (dataset,) = made.datasets()
    (split,) = made.splits(dataset, 1)
    first = next(iter(made.read(Read(dataset, split, batch_rows=5))))
    other = source(vendor, params={"status": "open"})
    with pytest.raises(LostPositionError, match="asks for other records"):
        list(other.read(Read(dataset, split, after=first.position)))


def test_no_position_holds_a_key(vendor: VendorApi) -> None:
    def told(way: str, number: int, reply: Reply) -> Reply:
        del way, number
        link = reply[1].get("Link", "").replace("<?", "<?api_key=hush&")
        return reply[0], {"Link": link}

    vendor.spoil = told
    auth = {"api_key": {"name": "api_key", "in": "query", "value": "hush"}}
    datasets = {"items": {"path": "/link/items", "paging": "link", "key": "id"}}
    made = RestSource(RestSettings.parse({"base_url": vendor.url, "auth": auth, "datasets": datasets}))
    MADE.append(made)
    batches = read(made)
    assert ids(batches) == list(range(1, 36))
    assert not any("hush" in json.dumps(batch.position) for batch in batches)
    assert [target.count("api_key=hush") for target in vendor.paths] == [1] * 4


# ---- what has changed


def increment(made: RestSource, after: Position | None, *, ties: bool = True) -> tuple[list[Any], Position | None]:
    (dataset,) = made.datasets(["items"])
    until = made.horizon(dataset, "at", after, ties=ties)
    if until is None:
        return [], None
    split = Split("0", "items", {"after": after, "until": until})
    asked = Read(dataset, split, mode=Mode.INCREMENTAL, cursor="at", ties=ties)
    return ids(list(made.read(asked))), until


@pytest.mark.parametrize("param", ["since", ""], ids=["asked of the API", "dropped here"])
def test_only_what_has_changed_is_read(vendor: VendorApi, param: str) -> None:
    now = datetime.now(UTC)
    rows = [{"id": n, "at": now - timedelta(hours=n)} for n in range(1, 13)]
    vendor.table("items", rows)
    told = {"cursor": "at", "param": param}
    first, until = increment(source(vendor, incremental=told), None)
    assert sorted(first) == list(range(1, 13))
    vendor.table("items", [*rows, {"id": 13, "at": now - timedelta(seconds=4)}])
    later = {"cursor": now.isoformat()} | (until or {})
    second, _ = increment(source(vendor, incremental={**told, "lag_seconds": 0, "overlap_seconds": 60}), later)
    assert second == [13]
    assert ("since=" in vendor.paths[-1]) is bool(param)


def test_a_record_without_the_cursor_is_told(vendor: VendorApi) -> None:
    vendor.table("items", [{"id": 1, "at": 5}, {"id": 2, "at": None}])
    with pytest.raises(SchemaError, match="1 records have no 'at'"):
        increment(source(vendor, incremental={"cursor": "at"}), None)


@pytest.mark.parametrize(
    ("format_", "zone", "written"),
    [
        ("iso", "UTC", "2026-01-31T16:30:00Z"), ("iso", "Asia/Shanghai", "2026-02-01T00:30:00+08:00"),
        ("date", "Asia/Shanghai", "2026-02-01"), ("epoch", "UTC", "1769877000"), ("epoch_ms", "UTC", "1769877000000"),
        ("%Y-%m-%d %H:%M:%S", "Asia/Shanghai", "2026-02-01 00:30:00"),
    ],
)  # fmt: skip
def test_an_instant_is_written_as_the_api_wants_it(vendor: VendorApi, format_: str, zone: str, written: str) -> None:
    vendor.table("items", [{"id": 1, "at": datetime(2026, 2, 2, tzinfo=UTC)}])
    made = source(vendor, incremental={"cursor": "at", "param": "since", "format": format_, "timezone": zone})
    increment(made, {"cursor": "2026-01-31T16:30:00+00:00"})
    assert vendor.calls[-1].query["since"] == written


# ---- APIs that misbehave


def test_records_that_come_twice_because_the_list_moved_are_read_once(vendor: VendorApi) -> None:
    def moved(way: str, number: int, reply: Reply) -> Reply:
        """Each page begins with the last record of the one before, and is in another order."""
        del way, number
        held = reply[0]["data"]["list"]
        first = held[0]["id"]
        held = [*([{"id": first - 1, "v": "again"}] if first > 1 else []), *reversed(held)]
        return {"data": {"total": 35, "list": held}}, reply[1]

    vendor.spoil = moved
    batches = read(source(vendor))
    assert sorted(ids(batches)) == list(range(1, 36))
    doubles = [batch.counts for batch in batches if batch.counts]
    assert (sum(one.deduplicated for one in doubles), sum(one.read for one in doubles)) == (3, 3)


def test_a_schema_that_changes_between_pages_makes_bad_rows_and_no_wrong_ones(vendor: VendorApi) -> None:
    vendor.tables["items"][("15",)] = {"id": 15, "v": {"deep": [1]}}
    vendor.tables["items"][("16",)] = {"id": "16", "v": 16}
    vendor.tables["items"][("17",)] = {"id": 17, "v": "x", "new": 1}
    vendor.tables["items"][("18",)] = {"id": "x18", "v": "x"}
    vendor.tables["items"][("19",)] = {"id": None, "v": "x"}
    batches = read(source(vendor))
    rows = {row["id"]: row["v"] for batch in batches for row in batch.rows.to_pylist()}
    assert {n: rows[n] for n in (14, 15, 16, 20)} == {14: "v14", 15: '{"deep":[1]}', 16: "16", 20: "v20"}
    assert sorted(bad.field for batch in batches for bad in batch.bad) == ["", "id", "id"]
    assert len(rows) == 32


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"<!DOCTYPE html><p>Please log in", {"Content_Type": "text/html"}, "a page for people"),
        (b"<html>oops", {"Content_Type": "application/json"}, "a page for people"),
        ({"code": 500, "message": "database is locked"}, {}, "database is locked"),
        ({"items": []}, {}, "no records at 'data.list'"),
        (b'{"data": {"list": [{"id": 1}', {}, "cut off|no JSON"),
        (b"", {}, "no JSON"),
    ],
    ids=["HTML", "HTML as JSON", "an error with 200", "another shape", "cut off", "empty"],
)
def test_what_is_no_page_stops_the_read(vendor: VendorApi, body: Any, headers: dict[str, str], said: str) -> None:
    def spoil(way: str, number: int, reply: Reply) -> Reply:
        del way
        return (body, headers) if number == 3 else reply

    vendor.spoil = spoil
    with pytest.raises(AnswerError, match=said):
        read(source(vendor, records="data.list"))


def test_an_api_that_ignores_the_page_number(vendor: VendorApi) -> None:
    with pytest.raises(AnswerError, match="same page came twice"):
        read(source(vendor, paging={"kind": "page", "param": "pageNo"}))


def test_a_right_that_is_missing_and_a_path_that_is_not_there(vendor: VendorApi) -> None:
    vendor.token = "secret"
    with pytest.raises(AuthError):
        list(source(vendor).check())
    vendor.token = ""
    with pytest.raises(NotFoundError):
        list(source(vendor, path="/nothing").check())
    assert list(source(vendor).check())[-1] == "sample items"


def test_a_read_that_is_told_to_stop_leaves_the_call_that_hangs(vendor: VendorApi) -> None:
    stop = Event()

    def hang(way: str, number: int, reply: Reply) -> Reply:
        del way
        if number == 2:
            stop.set()
            Event().wait(2)
        return reply

    vendor.spoil = hang
    made = source(vendor)
    (dataset,) = made.datasets()
    batches = list(made.read(Read(dataset, made.splits(dataset, 1)[0], batch_rows=5, stop=stop)))
    made.close()
    assert ids(batches) in ([], list(range(1, 11)))
    assert not any(batch.position and batch.position.get("end") for batch in batches)


# ---- what is said of it


def test_a_url_says_it_all() -> None:
    url = "https://u:p@api.example/v1/orders/?status=open#records=data.items&key=no,line&paging=cursor&paging.next=next"
    settings = from_url(url)
    assert (settings.base_url, settings.identity()) == ("https://api.example/v1", "https://api.example/v1")
    assert settings.auth is not None and settings.auth.basic is not None and settings.auth.basic.user == "u"
    orders = settings.datasets["orders"]
    assert (orders.path, orders.params, orders.key) == ("/orders", {"status": "open"}, ("no", "line"))
    assert orders.paging is not None
    assert (orders.paging.kind, orders.paging.next, orders.records) == ("cursor", "next", "data.items")


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"path": "/a/{id}"}, "filled by nothing"),
        ({"path": "/a", "nested": "children"}, "needs `key`"),
        ({"path": "/a", "body": {}}, "method: POST"),
        ({"path": "/a", "incremental": {"cursor": "at", "timezone": "Mars"}}, "no such time zone"),
    ],
)
def test_what_cannot_be_is_said_at_once(dataset: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettingsError, match=said):
        RestSettings.parse({"base_url": "https://x", "datasets": {"a": dataset}})
