"""API1, broken object level authorization: a foreign row is not read, counted, changed or told apart, by any door."""

from __future__ import annotations

import json

import psycopg
import pytest
from tests.owasp.house import FOREIGN, House

READS = [
    "/api/v1/items", "/api/v1/items?id=eq.3", "/api/v1/items?id=in.(1,3,4)", "/api/v1/items?or=(id.eq.3,id.eq.1)",
    "/api/v1/items?id=gt.2", "/api/v1/items?lot=like.*VERB*", "/api/v1/items?plant=eq.B", "/api/v1/items?order=id.desc",
    "/api/v1/items?select=plant,count()", "/api/v1/items?select=weight.max(),weight.sum()", "/api/v1/items?offset=2",
    "/api/v1/items?select=id,line(title)", "/api/v1/lines?select=title,items(lot)", "/api/v1/lines?items.plant=eq.B",
    "/api/v1/items?not.plant=eq.A", "/api/v1/items?plant=neq.A", "/api/v1/items?plant=isdistinct.A",
]  # fmt: skip
FORMATS = ["application/json", "text/csv", "application/xml"]
FOREIGN_ROWS = ["3", "4"]


@pytest.mark.parametrize("path", READS)
def test_no_byte_of_a_foreign_row_is_read(house: House, path: str) -> None:
    for accept in FORMATS:
        answer = house.ask("alpha", path, accept=accept, prefer="count=exact")
        assert FOREIGN.encode() not in answer.body
        assert b"1971234713" not in answer.body
        assert answer.status in (200, 206, 400, 416, 422), answer.body


def test_counts_and_sums_are_of_ones_own_rows(house: House) -> None:
    answer = house.ask("alpha", "/api/v1/items?select=id", prefer="count=exact")
    assert answer.headers["content-range"].endswith("/2")
    assert house.ask("alpha", "/api/v1/items?select=plant,count()").json == [{"plant": "A", "count": 2}]
    assert house.ask("beta", "/api/v1/items?select=plant,count()").json == [{"plant": "B", "count": 2}]


@pytest.mark.parametrize("id", FOREIGN_ROWS)
def test_a_foreign_row_is_answered_as_one_that_is_not_there(house: House, id: str) -> None:
    changes = [
        ("GET", "", None), ("HEAD", "", None), ("PATCH", "", {"weight": 9}), ("DELETE", "", None),
    ]  # fmt: skip
    for method, more, body in changes:
        foreign = house.ask("alpha", f"/api/v1/items/{id}{more}", method, body)
        missing = house.ask("alpha", f"/api/v1/items/999{more}", method, body)
        assert (foreign.status, foreign.json if foreign.body else b"") == (
            missing.status, {**missing.json, "instance": foreign.json["instance"]} if missing.body else b"",
        )  # fmt: skip
        assert foreign.status == 404


def test_foreign_rows_cannot_be_changed_taken_over_or_made(house: House) -> None:
    row = {"id": 3, "plant": "A", "lot": "mine", "weight": 1, "line_id": 1}
    attempts = [
        ("PATCH", "/api/v1/items?id=eq.3", {"weight": 9}, {}),
        ("DELETE", "/api/v1/items?id=eq.4", None, {}),
        ("PUT", "/api/v1/items/3", row, {}),
        ("POST", "/api/v1/items", row, {"prefer": "resolution=merge-duplicates"}),
        ("POST", "/api/v1/items", row, {"prefer": "resolution=ignore-duplicates, return=representation"}),
        ("POST", "/api/v1/items", {**row, "id": 50, "plant": "B"}, {}),
        ("PATCH", "/api/v1/items/1", {"plant": "B"}, {}),
    ]
    before = rows(house)
    for method, path, body, headers in attempts:
        answer = house.ask("alpha", path, method, body, **headers)
        assert FOREIGN.encode() not in answer.body
        assert rows(house) == before, (method, path, answer.body)


def test_one_bad_row_of_many_stops_them_all(house: House) -> None:
    before = rows(house)
    many = [{"id": 60, "plant": "A", "lot": "x"}, {"id": 61, "plant": "B", "lot": "y"}]
    assert house.ask("alpha", "/api/v1/items", "POST", many).status in (403, 409, 422)
    assert rows(house) == before


def test_a_cursor_of_another_is_of_no_use(house: House) -> None:
    first = house.ask("beta", "/api/v1/items?order=id&limit=1&select=id")
    cursor = first.headers["tongqu-next"]
    answer = house.ask("alpha", "/api/v1/items?order=id&limit=1&select=id", tongqu_after=cursor)
    assert answer.status == 400


def test_graphql_shows_the_same_rows(house: House) -> None:
    query = "{ items(limit: 50) { nodes { id lot line { title items { lot } } } totalCount } }"
    answer = house.ask("alpha", "/graphql/v1", "POST", {"query": query})
    assert answer.status == 200, answer.body
    told = answer.json["data"]["items"]
    assert [node["lot"] for node in told["nodes"]] == ["L1", "L2"]
    assert int(told["totalCount"]) == 2
    assert FOREIGN.encode() not in answer.body
    by_key = {"query": "{ items_by_key(id: 3) { lot } }"}
    assert FOREIGN not in json.dumps(house.ask("alpha", "/graphql/v1", "POST", by_key).json)


def rows(house: House) -> list[tuple[object, ...]]:
    """What is in the table."""
    with psycopg.connect(house.shop) as connection:
        return connection.execute("SELECT * FROM items ORDER BY id").fetchall()
