"""What the first answer of an unknown API shows: where its records stand and how its pages go on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LISTS = (
    "data", "items", "results", "records", "rows", "value", "list", "result", "content", "entries", "elements", "hits",
    "objects", "resources", "values", "datas", "dataList", "data_list", "recordList", "record_list", "userlist",
)  # fmt: skip
_INSIDE = ("data", "result", "response", "body", "d", "payload", "page", "_embedded", "hits", "obj", "content")
NEXT_URLS = (
    "next", "next_url", "nextUrl", "nextLink", "@odata.nextLink", "odata.nextLink", "__next", "next_page_url",
    "nextPageUrl", "nextRecordsUrl", "next_href",
)  # fmt: skip
TOKENS = {
    "next_cursor": "cursor", "nextCursor": "cursor", "cursor": "cursor", "next_page_token": "page_token",
    "nextPageToken": "pageToken", "next_token": "next_token", "nextToken": "nextToken", "NextToken": "NextToken",
    "continuation_token": "continuation_token", "continuationToken": "continuationToken", "page_token": "page_token",
    "pageToken": "pageToken", "endCursor": "after", "end_cursor": "after", "scroll_id": "scroll_id",
    "NextMarker": "Marker", "next_marker": "marker", "after": "after",
}  # fmt: skip
_AROUND = ("", "links", "_links", "paging", "pagination", "meta", "page_info", "pageInfo", "cursors", *_INSIDE)
TOTALS = (
    "total", "total_count", "totalCount", "totalSize", "total_size", "totalElements", "count_all", "recordsTotal",
    "total_results", "totalRecords", "total_records", "totalNum", "@odata.count",
)  # fmt: skip
MORE = ("has_more", "hasMore", "hasNext", "has_next", "hasNextPage", "has_next_page", "more", "incomplete_results")
_COUNT_HEADERS = ("x-total-count", "x-total", "total-count")
FULL = frozenset({10, 20, 25, 30, 50, 100, 200, 250, 300, 500, 1000, 2000, 5000, 10_000})
"""Sizes of pages: a list that has exactly so many records and says nothing of an end is taken for a first page."""
_WEB = re.compile(r"(https?://|/|\?)")


@dataclass(frozen=True)
class Guess:
    """`next` is the place of a cursor or, where `is_url`, of a URL; `more` says why there must be more."""

    next: str = ""
    is_url: bool = False
    param: str = ""
    more: str = ""


def records_at(document: Any) -> tuple[str, ...] | None:
    """The keys that lead to the records of an unknown document: an array, the best known name first, in the document
    or in an object of it; () if the document is the array or one record; None if nothing looks like records."""
    if isinstance(document, list):
        return ()
    if not isinstance(document, dict):
        return None
    found = _lists_of(document)
    for name in _INSIDE:
        if isinstance(inner := document.get(name), dict):
            found += [(rank + 50, (name, *keys), size) for rank, keys, size in _lists_of(inner)]
            for second in _INSIDE:
                if isinstance(deeper := inner.get(second), dict):
                    found += [(rank + 100, (name, second, *keys), size) for rank, keys, size in _lists_of(deeper)]
    if not found:
        return ()
    return min(found, key=lambda one: (one[0], -one[2]))[1]


def _lists_of(document: Mapping[str, Any]) -> list[tuple[int, tuple[str, ...], int]]:
    found: list[tuple[int, tuple[str, ...], int]] = []
    arrays = [(name, value) for name, value in document.items() if isinstance(value, list)]
    for name, value in arrays:
        objects = all(isinstance(one, dict) for one in value)
        if name in LISTS and objects:
            found.append((LISTS.index(name), (name,), len(value)))
        elif value and objects and len(arrays) == 1 and name not in ("errors", "warnings", "links"):
            found.append((40, (name,), len(value)))
    return found


def guessed(envelope: Any, count: int, headers: Mapping[str, str]) -> Guess:
    """How the pages of an answer go on, by the names that are in use."""
    places = _places(envelope)
    for where, holder in places:
        for name in NEXT_URLS:
            value = holder.get(name)
            if isinstance(value, dict):
                value, name = value.get("href"), f"{name}.href"  # noqa: PLW2901
            if isinstance(value, str) and _WEB.match(value):
                return Guess(_joined(where, name), True)
    said = _said_more(places)
    if said is not False:
        for where, holder in places:
            for name, param in TOKENS.items():
                if isinstance(holder.get(name), str | int) and not isinstance(holder[name], bool) and holder[name]:
                    return Guess(_joined(where, name), False, param)
    if said:
        return Guess(more="the answer says so")
    total = next((headers[name] for name in _COUNT_HEADERS if name in headers), None)
    totals = [total] if total else [holder[n] for _, holder in places for n in TOTALS if n in holder]
    for value in totals:
        if str(value).isdigit() and int(value) > count:
            return Guess(more=f"{count} of {value} came")
    if count in FULL and not totals and said is None:
        return Guess(more=f"exactly {count} came, which is what first pages have")
    return Guess()


def _places(envelope: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(envelope, dict):
        return []
    found: list[tuple[str, Mapping[str, Any]]] = [("", envelope)]
    for name in _AROUND:
        inner = envelope.get(name)
        if name and isinstance(inner, dict):
            found.append((name, inner))
            found += [(f"{name}.{n}", inner[n]) for n in _AROUND if n and isinstance(inner.get(n), dict)]
    return found


def _said_more(places: list[tuple[str, Mapping[str, Any]]]) -> bool | None:
    for _, holder in places:
        for name in MORE:
            if isinstance(holder.get(name), bool):
                return bool(holder[name])
    return None


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
