"""Rows are written back: by record or by batch, once, with what the API said of each."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.sink import RestSink
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.testing.pour import pour
from tongqu.testing.services.http_peer import Asked, Out
from tongqu.testing.services.vendor_api import Everything, VendorApi

BY_ROW = {
    "create": {"method": "POST"},
    "update": {"method": "PUT", "path": "/rows/items/{id}"},
    "delete": {"method": "DELETE", "path": "/rows/items/{id}"},
    "look": {"path": "/rows/items/{id}"},
    "key_honoured": True,
}
BATCHES = {
    "upsert": {"method": "POST", "path": "/batch/items", "batch": 4, "results": "results"},
    "delete": {"method": "DELETE", "path": "/rows/items/{id}"},
}


def settings(api: VendorApi, write: dict[str, Any], **more: Any) -> RestSettings:
    dataset = {"path": more.get("path", "/rows/items"), "key": ["id"], "write": write}
    return RestSettings.parse({"base_url": api.url, "datasets": {"items": dataset}, "calls": more.get("calls", {})})


def put(
    folder: Path,
    told: RestSettings,
    rows: list[dict[str, Any]],
    mode: WriteMode = WriteMode.UPSERT,
    run: str = "run 1",
) -> tuple[Counts, list[dict[str, Any]]]:
    table = pa.Table.from_pylist(rows)
    write = Write("items", Dataset("items", table.schema, key=("id",)), mode, "sync", run, key=("id",),
                  incremental=mode is WriteMode.UPSERT)  # fmt: skip
    sink = RestSink(told)
    sink.lodge(folder)
    try:
        counts = pour(sink, write, chunks(table))
        return counts, sink.quarantined()
    finally:
        sink.close()


def chunks(table: pa.Table) -> Iterable[pa.Table]:
    return [table.slice(at, 5) for at in range(0, max(table.num_rows, 1), 5)]


def items(*pairs: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"id": number, "v": text} for number, text in pairs]


def test_records_are_created_and_changed_one_by_one(vendor: VendorApi, tmp_path: Path) -> None:
    counts, bad = put(tmp_path, settings(vendor, BY_ROW), items((35, "v35"), (36, "new"), (1, "other")))
    assert (counts.inserted, counts.updated, counts.unchanged, bad) == (1, 1, 1, [])
    assert sorted(vendor.effects) == [("POST", "items", "36"), ("PUT", "items", "1")]
    assert {row["id"]: row["v"] for row in vendor.rows("items") if row["id"] in (1, 36)} == {1: "other", 36: "new"}


def test_the_same_rows_again_make_no_call(vendor: VendorApi, tmp_path: Path) -> None:
    put(tmp_path, settings(vendor, BY_ROW), items((36, "new")))
    before = len(vendor.calls)
    counts, _ = put(tmp_path, settings(vendor, BY_ROW), items((36, "new")), run="run 2")
    assert (counts.unchanged, len(vendor.calls)) == (1, before)


def test_what_the_api_refuses_is_quarantined_with_its_words(vendor: VendorApi, tmp_path: Path) -> None:
    counts, bad = put(tmp_path, settings(vendor, BY_ROW), items((36, "bad"), (37, "good")))
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert [(row["code"], row["message"]) for row in bad] == [("call.refused", "v must not be bad")]


def test_a_batch_is_one_call_and_its_items_have_results_of_their_own(vendor: VendorApi, tmp_path: Path) -> None:
    rows = items((40, "a"), (41, "bad"), (42, "c"), (1, "there already"))
    counts, bad = put(tmp_path, settings(vendor, BATCHES), rows)
    assert [asked.path for asked in vendor.calls] == ["/batch/items"]
    assert counts.quarantined == 2
    assert {row["message"] for row in bad} == {"v must not be bad", "1 is there already"}
    assert [key for _, _, key in vendor.effects] == ["40", "42"]


def test_a_body_is_made_by_a_template(vendor: VendorApi, tmp_path: Path) -> None:
    body = {"id": "{id}", "v": "{v}", "sent": {"by": "tongqu", "record": "{*}"}}
    write = {"upsert": {"method": "PUT", "path": "/rows/items/{id}", "body": body}}
    put(tmp_path, settings(vendor, write), items((36, 'quo"te')))
    sent = vendor.calls[-1].json()
    assert sent == {"id": 36, "v": 'quo"te', "sent": {"by": "tongqu", "record": {"id": 36, "v": 'quo"te'}}}


def test_fields_are_called_as_the_api_calls_them(vendor: VendorApi, tmp_path: Path) -> None:
    write = {"upsert": {"method": "PUT", "path": "/rows/items/{id}", "fields": {"id": "id", "v": "value.text"}}}
    put(tmp_path, settings(vendor, write), items((36, "x")))
    assert vendor.calls[-1].json() == {"id": 36, "value.text": "x"}


def test_numbers_go_as_text_where_the_api_wants_text(vendor: VendorApi, tmp_path: Path) -> None:
    write = {"upsert": {"method": "PUT", "path": "/rows/items/{id}", "texts": ["qty"]}}
    dataset = {"path": "/rows/items", "key": ["id"], "types": {"lot": "string"}, "write": write}
    told = RestSettings.parse({"base_url": vendor.url, "datasets": {"items": dataset}})
    put(tmp_path, told, [{"id": 36, "qty": Decimal("12.50"), "lot": 7, "v": True}])
    assert vendor.calls[-1].json() == {"id": 36, "qty": "12.50", "lot": "7", "v": True}


def test_replace_deletes_what_did_not_come(vendor: VendorApi, tmp_path: Path) -> None:
    write = {**BY_ROW, "upsert": {"method": "PUT", "path": "/rows/items/{id}"}}
    told = settings(vendor, write, path="/plain/items")
    put(tmp_path, told, items(*((n, f"v{n}") for n in range(1, 34))), WriteMode.REPLACE)
    assert sorted(row["id"] for row in vendor.rows("items")) == list(range(1, 34))


def test_without_a_word_on_writing_nothing_is_written(vendor: VendorApi, tmp_path: Path) -> None:
    told = RestSettings.parse({"base_url": vendor.url, "datasets": {"items": {"path": "/rows/items"}}})
    with pytest.raises(InvalidPlanError, match="nothing says how 'items' is written"):
        put(tmp_path, told, items((1, "x")))
    with pytest.raises(InvalidPlanError, match="no dataset 'items'"):
        put(tmp_path, RestSettings.parse({"base_url": vendor.url}), items((1, "x")))


def test_a_lost_answer_has_no_second_effect(vendor: VendorApi, tmp_path: Path) -> None:
    """The API carries the call out and the connection breaks: with a key it is asked again, and answers as before."""
    whole = vendor.answered
    lost: list[str] = []

    def flaky(asked: Asked, out: Out) -> None:
        if asked.method == "POST" and not lost:
            lost.append(asked.headers["idempotency-key"])
            whole(asked, _Silent(out))
            out.hang_up()
        else:
            whole(asked, out)

    vendor.routes = Everything(flaky)
    counts, bad = put(tmp_path, settings(vendor, BY_ROW), items((36, "new")))
    assert (counts.inserted, bad, vendor.effects) == (1, [], [("POST", "items", "36")])
    keys = [asked.headers["idempotency-key"] for asked in vendor.calls if asked.method == "POST"]
    assert lost and set(keys) == set(lost)


def test_without_a_key_a_lost_answer_is_read_back(vendor: VendorApi, tmp_path: Path) -> None:
    whole = vendor.answered
    lost: list[str] = []

    def flaky(asked: Asked, out: Out) -> None:
        if asked.method == "POST" and not lost:
            lost.append("once")
            whole(asked, _Silent(out))
            out.hang_up()
        else:
            whole(asked, out)

    vendor.routes = Everything(flaky)
    counts, bad = put(tmp_path, settings(vendor, {**BY_ROW, "key_honoured": False}), items((36, "new")))
    assert (counts.inserted, bad, vendor.effects) == (1, [], [("POST", "items", "36")])
    assert [asked.method for asked in vendor.calls] == ["GET", "POST", "GET"]


def test_a_group_that_half_failed_is_taken_back(vendor: VendorApi, tmp_path: Path) -> None:
    write = {**BY_ROW, "undo": {"create": {"method": "DELETE", "path": "/rows/items/{id}"}}}
    told = settings(vendor, write, calls={"group": "lot"})
    rows = [{"id": 50, "v": "a", "lot": "L1"}, {"id": 51, "v": "bad", "lot": "L1"}, {"id": 52, "v": "c", "lot": "L2"}]
    counts, bad = put(tmp_path, told, rows)
    assert (counts.inserted, counts.quarantined) == (1, 2)
    assert {row["code"] for row in bad} == {"call.refused", "call.undone"}
    assert {row["id"] for row in vendor.rows("items")} & {50, 51, 52} == {52}


class _Silent(Out):
    """Carries out and says nothing."""

    def __init__(self, out: Out):
        self.open = True
        del out

    def raw(self, data: bytes) -> None:
        del data


@pytest.mark.parametrize(
    ("write", "body", "kind"),
    [
        ({"create": {"method": "POST"}}, b"<html><body>Please log in</body></html>", "text/html"),
        ({"create": {"method": "POST"}}, b"  <!DOCTYPE html>", "application/json"),
        ({"create": {"method": "POST", "batch": 3}}, b"<html></html>", "text/html"),
        ({"create": {"method": "POST", "ok": "code=0"}}, b"", "application/json"),
        ({"create": {"method": "POST", "ok": "code=0"}}, b"[]", "application/json"),
    ],
)
def test_an_answer_that_says_nothing_is_not_taken_for_success(
    vendor: VendorApi, tmp_path: Path, write: dict[str, Any], body: bytes, kind: str
) -> None:
    """A proxy's login page comes with status 200."""
    vendor.routes = Everything(lambda asked, out: out.answer(200, body, Content_Type=kind))
    counts, bad = put(tmp_path, settings(vendor, write), items((36, "a"), (37, "b")), WriteMode.APPEND)
    assert (counts.inserted, {row["code"] for row in bad}) == (0, {"call.unknown"})
