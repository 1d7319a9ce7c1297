"""Whatever goes wrong from page to page ends as a typed error or as the right rows: none wrong, none twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.source import RestSource
from tongqu.core.data import BadRow, Read
from tongqu.core.errors import AnswerError, EgressRefusedError, TongquError
from tongqu.testing.services.evil_pages import EvilPages, good
from tongqu.testing.services.http_peer import HttpPeer

PAGED = {"kind": "page", "size": 10, "more": "more"}


@pytest.fixture(scope="module")
def canary() -> Iterator[HttpPeer]:
    with HttpPeer() as peer:
        yield peer


@pytest.fixture
def pages(canary: HttpPeer) -> Iterator[EvilPages]:
    with EvilPages(canary.url + "/inside") as peer:
        yield peer


def read(
    peer: EvilPages, path: str, paging: Any = PAGED, retry: Any = None, **more: Any
) -> tuple[list[dict[str, Any]], list[BadRow], int]:
    """The rows, the bad rows and how many came twice."""
    items = {"path": path, "records": "items", "key": ["id"], "paging": paging, **more}
    settings = {"base_url": peer.url, "datasets": {"items": items}, "retry": retry or {"attempts": 1}}
    with closing(RestSource(RestSettings.parse(settings))) as source:
        (dataset,) = source.datasets()
        (split,) = source.splits(dataset, 1)
        batches = list(source.read(Read(dataset, split)))
    rows = pa.Table.from_batches([batch.rows for batch in batches]).to_pylist()
    doubles = sum(batch.counts.deduplicated for batch in batches if batch.counts)
    return rows, [bad for batch in batches for bad in batch.bad], doubles


def test_an_honest_list(pages: EvilPages) -> None:
    assert read(pages, "/honest") == ([good(n) for n in range(1, 31)], [], 0)


def test_a_schema_that_changes_makes_no_row_wrong(pages: EvilPages) -> None:
    rows, bad, _ = read(pages, "/changing")
    refused = {14, 16, 18, 22}
    wanted = [{"id": 21, "v": None} if n == 21 else good(n) for n in range(1, 31) if n not in refused]
    assert sorted(rows, key=lambda row: row["id"]) == wanted
    assert len(bad) == len(refused)
    assert sorted("many" in str(one) for one in bad) == [False, False, False, True]


@pytest.mark.parametrize("format", ["json", "csv", "xml", "ndjson"])
def test_a_login_page_is_no_data_whatever_the_format(pages: EvilPages, format: str) -> None:
    with pytest.raises(TongquError):
        read(pages, "/login", format=format)


def test_one_page_in_ten_fails_and_no_row_is_lost_or_twice(pages: EvilPages) -> None:
    rows, bad, doubles = read(pages, "/shaky", retry={"first_seconds": 0.001})
    assert (rows, bad, doubles) == ([good(n) for n in range(1, 501)], [], 0)
    assert len(pages.calls) > 51


def test_items_that_come_twice_are_read_once(pages: EvilPages) -> None:
    rows, bad, doubles = read(pages, "/overlapping")
    assert ([row["id"] for row in rows], bad, doubles) == (list(range(1, 31)), [], 6)


def test_items_in_another_order_are_all_there(pages: EvilPages) -> None:
    rows, bad, doubles = read(pages, "/reordered")
    assert (sorted(row["id"] for row in rows), bad, doubles) == (list(range(1, 31)), [], 3)


@pytest.mark.parametrize(
    ("path", "paging"),
    [
        ("/same", PAGED),
        ("/empty-for-ever", {"kind": "cursor", "param": "page", "next": "next"}),
        ("/loop", {"kind": "cursor", "param": "cursor", "next": "next"}),
        ("/login-in-the-middle", PAGED),
    ],
)
def test_lists_that_never_end_or_are_none(pages: EvilPages, path: str, paging: dict[str, Any]) -> None:
    with pytest.raises(AnswerError):
        read(pages, path, paging)
    assert len(pages.calls) <= 1100


def test_a_next_page_inside_is_never_asked_for(pages: EvilPages, canary: HttpPeer) -> None:
    with pytest.raises(EgressRefusedError):
        read(pages, "/inside", {"kind": "next_url", "next": "next"})
    assert canary.calls == []
