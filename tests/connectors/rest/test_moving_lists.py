"""Lists that change or fail while they are read: nothing is passed over, and no part is taken for the whole."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.source import RestSource
from tongqu.core.data import Batch, Position, Read
from tongqu.core.errors import AnswerError, LostPositionError
from tongqu.testing.services.vendor_api import Reply, VendorApi

PAGED: dict[str, Any] = {
    "paging": {"kind": "page", "size_param": "size", "size": 10, "total": "data.total"},
    "key": "id",
}


def made(api: VendorApi, datasets: dict[str, Any], **more: Any) -> closing[RestSource]:
    return closing(RestSource(RestSettings.parse({"base_url": api.url, "datasets": datasets, **more})))


def read(source: RestSource, name: str, after: Position | None = None, *, batch_rows: int = 10) -> list[Batch]:
    (dataset,) = source.datasets([name])
    (split,) = source.splits(dataset, 1)
    return list(source.read(Read(dataset, split, after=after, batch_rows=batch_rows)))


def test_a_page_that_comes_empty_among_others_is_no_end(vendor: VendorApi) -> None:
    """The API fails to find a page and says so to nobody: not even its total is right there."""
    vendor.table("items", [{"id": n} for n in range(1, 61)])

    def spoil(way: str, number: int, reply: Reply) -> Reply:
        body, headers = reply
        first = body["data"]["list"][0]["id"] if body["data"]["list"] else 0
        return ({"data": {"list": [], "total": 0}}, headers) if first == 21 else (body, headers)

    vendor.spoil = spoil
    with (
        made(vendor, {"items": {"path": "/page/items", **PAGED}}) as source,
        pytest.raises(AnswerError, match="page 3 came empty, and pages after it have records"),
    ):
        read(source, "items")


def test_a_record_that_changes_while_a_list_is_looked_at_is_not_passed_over(vendor: VendorApi) -> None:
    """The next increment begins at the instant of the first page that was looked at, not of the last."""
    now = datetime.now(UTC)
    vendor.table("items", [{"id": n, "at": now - timedelta(hours=n)} for n in range(1, 25)])
    dates = iter([now - timedelta(seconds=60), now])

    def spoil(way: str, number: int, reply: Reply) -> Reply:
        return reply[0], {**reply[1], "Date": format_datetime(next(dates, now), usegmt=True)}

    vendor.spoil = spoil
    items = {"path": "/page/items", **PAGED, "incremental": {"cursor": "at"}}
    with made(vendor, {"items": items}, sample_pages=2) as source:
        (dataset,) = source.datasets(["items"])
        until = source.horizon(dataset, "at", None)
    assert until is not None
    assert datetime.fromisoformat(until["cursor"]) < now - timedelta(seconds=60)


def test_a_parent_that_went_away_between_two_attempts_is_noticed(vendor: VendorApi) -> None:
    """Rows are counted within a page of parents: without a look at the last one, one would be passed over."""
    vendor.table("orders", [{"id": n} for n in (1, 2, 3)])
    for n in (1, 2, 3):
        vendor.table(f"lines{n}", [{"id": k} for k in range(1, 4)])
    lines = {"path": "/page/lines{order}", **PAGED, "parent": {"dataset": "orders", "values": {"order": "id"}}}
    with made(vendor, {"orders": {"path": "/page/orders", **PAGED}, "lines": lines}) as source:
        whole = read(source, "lines", batch_rows=1)
        cut = next(batch.position for batch in whole if (batch.position or {}).get("row") == 1)
        rest = read(source, "lines", cut)
        assert [row["order"] for batch in rest for row in batch.rows.to_pylist()] == [2, 2, 2, 3, 3, 3]
        vendor.table("orders", [{"id": n} for n in (2, 3)])
        with pytest.raises(LostPositionError, match="records of orders have changed"):
            read(source, "lines", cut)
