"""Every way of paging: what is asked for, where the end is, and APIs that go round in circles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.core.errors import AnswerError, InvalidSettingsError
from tongqu.kit.answers.paging import Answer, Pager, PagingSettings, next_link

ROWS = [{"id": number} for number in range(1, 26)]


def walk(paging: dict[str, Any], answers: Any, limit: int = 100) -> tuple[list[Any], list[Any]]:
    """What was asked for page by page, and the records."""
    pager = Pager(PagingSettings.parse(paging), "items")
    state: Any = pager.first()
    asked: list[Any] = []
    records: list[Any] = []
    while state is not None and len(asked) < limit:
        question = pager.asking(state)
        asked.append(question.url or dict(question.params))
        rows, envelope, headers = answers(asked[-1])
        records += rows
        last = json.dumps(rows[-1]).encode() if rows else b""
        content = json.dumps(rows).encode()
        state = pager.after(state, Answer(len(rows), envelope, headers, "https://api.example/items", last, content))
    return asked, records


def pages(size: int, name: str = "page", first: int = 1, **more: Any) -> Any:
    def answer(asked: dict[str, Any]) -> Any:
        at = (int(asked.get(name, first)) - first) * size
        return ROWS[at : at + size], {k: v(at) if callable(v) else v for k, v in more.items()}, {}

    return answer


def test_pages_end_at_one_that_is_shorter_than_the_first() -> None:
    asked, records = walk({"kind": "page", "size_param": "n", "size": 10}, pages(10))
    assert (records, asked[-1]) == (ROWS, {"n": 10, "page": 3})


def test_a_page_smaller_than_asked_for_is_no_end() -> None:
    """The API gives ten at most, whatever is asked for."""
    asked, records = walk({"kind": "page", "size_param": "n", "size": 1000}, pages(10))
    assert (len(asked), records) == (3, ROWS)


def test_a_total_ends_the_list_without_another_call() -> None:
    asked, _ = walk({"kind": "page", "total": "total"}, pages(5, total=25))
    assert len(asked) == 5


def test_the_number_of_pages_does_too() -> None:
    asked, _ = walk({"kind": "page", "pages": "pages", "start": 0}, pages(5, first=0, pages=5))
    assert [one["page"] for one in asked] == [0, 1, 2, 3, 4]


def test_so_does_a_word_that_there_are_no_more() -> None:
    asked, _ = walk({"kind": "page", "more": "more"}, pages(5, more=lambda at: at + 5 < 25))
    assert len(asked) == 5


def test_offsets_go_by_what_came() -> None:
    def answer(asked: dict[str, Any]) -> Any:
        at = int(asked["offset"])
        return ROWS[at : at + 7], {}, {}

    asked, records = walk({"kind": "offset"}, answer)
    assert ([one["offset"] for one in asked], records) == ([0, 7, 14, 21], ROWS)


def test_cursors_come_out_of_the_answer() -> None:
    def answer(asked: dict[str, Any]) -> Any:
        at = int(asked.get("after", 0))
        return ROWS[at : at + 10], {"meta": {"next": at + 10 if at + 10 < 25 else None}}, {}

    asked, records = walk({"kind": "cursor", "param": "after", "next": "meta.next"}, answer)
    assert (asked, records) == ([{}, {"after": "10"}, {"after": "20"}], ROWS)


def test_links_are_absolute_and_stay_secure() -> None:
    links = ['<http://api.example/items?p=2>; rel="next"', '<?p=3>; title="a; b"; rel="last next"', "</x>; rel=prev"]

    def answer(asked: Any) -> Any:
        at = 0 if asked == {} else int(str(asked)[-1]) - 1
        return ROWS[at * 10 : at * 10 + 10], None, {"link": links[at]}

    asked, records = walk({"kind": "link"}, answer)
    assert asked == [{}, "https://api.example/items?p=2", "https://api.example/items?p=3"]
    assert records == ROWS


@pytest.mark.parametrize(
    ("header", "target"),
    [('<a>; rel="prev", <b>; rel="next"', "b"), ("<a>; rel=next", "a"), ('<a>; rel="nextone"', None), ("", None)],
)
def test_a_link_header_is_read_as_the_standard_says(header: str, target: str | None) -> None:
    assert next_link(header) == target


def test_a_keyset_goes_on_after_the_last_record() -> None:
    def answer(asked: dict[str, Any]) -> Any:
        rows = [row for row in ROWS if row["id"] > int(asked.get("since_id", 0))]
        return rows[:10], {}, {}

    asked, records = walk({"kind": "keyset", "field": "id", "param": "since_id"}, answer)
    assert (asked, records) == ([{}, {"since_id": 10}, {"since_id": 20}], ROWS)


def test_the_first_answer_shows_how_it_goes_on() -> None:
    def answer(asked: Any) -> Any:
        at = int(asked.get("page_token", 0)) if isinstance(asked, dict) else int(asked[-2:])
        more = at + 10 < 25
        return ROWS[at : at + 10], {"nextPageToken": str(at + 10) if more else "", "next_page_token": None}, {}

    def linked(asked: Any) -> Any:
        at = 0 if asked == {} else int(asked.rpartition("=")[2])
        return ROWS[at : at + 10], {"paging": {"next": f"/items?at={at + 10}" if at < 20 else None}}, {}

    assert walk({"kind": "auto"}, linked)[1] == ROWS
    with pytest.raises(AnswerError, match="same page"):
        walk({"kind": "auto"}, answer)  # its parameter is called otherwise than its field


@pytest.mark.parametrize(
    "envelope", [{"total": 25}, {"has_more": True}, {}, {"data": {"pageInfo": {"hasNextPage": True}}}], ids=str
)
def test_a_list_that_goes_on_in_no_known_way_is_not_taken_for_whole(envelope: Any) -> None:
    with pytest.raises(AnswerError, match="there may be more records"):
        walk({"kind": "auto"}, lambda _: (ROWS[:10], envelope, {}))


def test_a_list_that_is_whole_is_taken_for_whole() -> None:
    assert walk({"kind": "auto"}, lambda _: (ROWS[:10], {"total": 10}, {}))[0] == [{}]
    assert walk({"kind": "none"}, lambda _: (ROWS[:10], {}, {}))[0] == [{}]


def test_an_api_that_ignores_the_page_is_found_out() -> None:
    with pytest.raises(AnswerError, match="same page came twice") as caught:
        walk({"kind": "page", "param": "pageNo"}, lambda _: (ROWS[:10], {}, {}))
    assert "pageNo" in caught.value.hint


@pytest.mark.parametrize("circle", [1, 2, 3, 50])
def test_cursors_that_go_round_are_found_out(circle: int) -> None:
    calls = 0

    def answer(_: Any) -> Any:
        nonlocal calls
        calls += 1
        return [{"id": calls}], {"next": f"c{calls % circle}"}, {}

    with pytest.raises(AnswerError, match="round in circles"):
        walk({"kind": "cursor", "next": "next"}, answer, limit=1000)
    assert calls <= circle + 1


def test_empty_pages_without_end_are_found_out() -> None:
    calls = iter(range(10_000))
    with pytest.raises(AnswerError, match="empty pages"):
        walk({"kind": "cursor", "next": "next"}, lambda _: ([], {"next": f"c{next(calls)}"}, {}), limit=5000)


def test_an_empty_page_with_the_cursor_of_before_is_the_end() -> None:
    answers = {"{}": ROWS[:3], "{'cursor': 'x'}": []}
    assert (
        walk({"kind": "cursor", "next": "next"}, lambda asked: (answers[str(asked)], {"next": "x"}, {}))[1] == ROWS[:3]
    )


def test_what_a_kind_needs_is_said_at_once() -> None:
    for wrong in ({"kind": "cursor"}, {"kind": "next_url"}, {"kind": "keyset"}):
        with pytest.raises(InvalidSettingsError, match="needs"):
            PagingSettings.parse(wrong)


@pytest.mark.parametrize(
    ("paging", "empty"),
    [
        ({"kind": "page", "total": "total"}, {"page": 3}),
        ({"kind": "page", "pages": "pages"}, {"page": 3}),
        ({"kind": "offset", "total": "total"}, {"offset": 10}),
    ],
)
def test_an_empty_page_in_the_middle_is_not_the_end(paging: dict[str, Any], empty: dict[str, Any]) -> None:
    """A page that fails at the API comes empty: what is behind it must not be taken for gone."""

    def answer(asked: dict[str, Any]) -> Any:
        at = int(asked.get("offset", (int(asked.get("page", 1)) - 1) * 5))
        return ([] if asked == empty else ROWS[at : at + 5]), {"total": 25, "pages": 5}, {}

    with pytest.raises(AnswerError, match="came empty, and the answer counts more records than that: 10 records"):
        walk(paging, answer)


def test_a_list_that_becomes_shorter_ends_where_it_ends() -> None:
    def answer(asked: dict[str, Any]) -> Any:
        at = (int(asked["page"]) - 1) * 10
        total = 25 if at < 20 else 20
        return ROWS[:total][at : at + 10], {"total": total}, {}

    _, records = walk({"kind": "page", "total": "total"}, answer)
    assert records == ROWS[:20]


@pytest.mark.parametrize(
    ("paging", "envelope", "said"),
    [
        ({"kind": "cursor", "next": "next", "more": "more"}, {"more": True, "next": None}, "more records .more., and"),
        ({"kind": "cursor", "next": "meta.nextCursor"}, {"meta": {"next_cursor": "c2"}}, "at meta.next_cursor"),
        ({"kind": "next_url", "next": "nxt"}, {"next": "https://api.example/items?p=2"}, "a next page at next"),
        ({"kind": "link"}, {"next": "https://api.example/items?p=2"}, "no header Link, and a next page at next"),
    ],
)
def test_a_next_page_that_stands_elsewhere_is_found_out(
    paging: dict[str, Any], envelope: dict[str, Any], said: str
) -> None:
    with pytest.raises(AnswerError, match=said):
        walk(paging, lambda _: (ROWS[:10], envelope, {}))


@pytest.mark.parametrize("envelope", [{"next": None, "cursor": "c1"}, {"next": ""}, {}])
def test_a_list_of_one_page_ends(envelope: dict[str, Any]) -> None:
    asked, records = walk({"kind": "cursor", "next": "next"}, lambda _: (ROWS[:10], envelope, {}))
    assert (len(asked), records) == (1, ROWS[:10])
