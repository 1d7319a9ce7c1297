"""API3, broken object property level authorization: a hidden field does not exist, a masked one is its mask."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from tests.owasp.house import SALARIES, House

HIDDEN = "salary"
NEVER = "nothing"
CHANNELS = {
    "select": "select=id,{f}", "alias": "select=id,x:{f}", "cast": "select={f}::text", "JSON path": "select={f}->a",
    "filter": "{f}=eq.1971234711", "range filter": "{f}=gt.1971234711", "null": "{f}=is.null",
    "or": "or=(id.eq.1,{f}.gt.1)",
    "not": "not.{f}=eq.1", "order": "order={f}", "order after": "order=id,{f}.desc", "sum": "select={f}.sum()",
    "max": "select=x:{f}.max()", "group": "select={f},count()", "in a relation": "select=id,line({f})",
    "filter of a relation": "select=id,line(title)&line.{f}=eq.1",
    "order of a relation": "select=id,line()&line.order={f}",
    "columns": "columns={f}", "conflict": "on_conflict={f}",
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two refusals differ only in the name that was asked for."""
    texts = [json.dumps({**told, "instance": ""}).replace(HIDDEN, "F").replace(NEVER, "F") for told in (one, other)]
    return texts[0] == texts[1]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("who", ["alpha", "people"])
def test_a_hidden_field_is_answered_as_one_that_was_never_there(house: House, channel: str, who: str) -> None:
    hidden = house.ask(who, f"/api/v1/items?{CHANNELS[channel].format(f=HIDDEN)}")
    never = house.ask(who, f"/api/v1/items?{CHANNELS[channel].format(f=NEVER)}")
    assert hidden.status == never.status
    if hidden.status == 200:
        assert hidden.json == never.json
    else:
        assert same(hidden.json, never.json), (hidden.json, never.json)
    assert not any(
        salary.encode() in hidden.body.replace(b"eq.1971234711", b"").replace(b"gt.1971234711", b"")
        for salary in SALARIES
    )


def test_no_format_shows_it(house: House) -> None:
    for accept in ("application/json", "text/csv", "application/xml", "application/vnd.apache.arrow.stream"):
        answer = house.ask("alpha", "/api/v1/items", accept=accept)
        assert answer.status == 200
        assert HIDDEN.encode() not in answer.body
        assert not any(salary.encode() in answer.body for salary in SALARIES[:2])


@pytest.mark.parametrize(
    "path", ["/openapi/v1.json", "/soap/v1/items?wsdl", "/graphql/v1/schema.graphql", "/api/v1/items?xsd"]
)
def test_no_description_names_it(house: House, path: str) -> None:
    answer = house.ask("alpha", path)
    assert answer.status == 200, answer.body
    assert b"lot" in answer.body
    assert HIDDEN.encode() not in answer.body


def test_graphql_and_its_introspection_do_not_know_it(house: House) -> None:
    query = "{ __schema { types { name fields { name } inputFields { name } } } }"
    answer = house.ask("alpha", "/graphql/v1", "POST", {"query": query})
    assert answer.status == 200
    assert HIDDEN.encode() not in answer.body
    refusals = [
        house.ask("alpha", "/graphql/v1", "POST", {"query": f"{{ items {{ nodes {{ {name} }} }} }}"}).json["errors"]
        for name in (HIDDEN, NEVER)
    ]
    assert json.dumps(refusals[0]).replace(HIDDEN, "F") == json.dumps(refusals[1]).replace(NEVER, "F").replace(
        "14711", ""
    )


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/items"), ("PATCH", "/api/v1/items/1"), ("PUT", "/api/v1/items/1")]
)
def test_mass_assignment_is_refused(house: House, method: str, path: str) -> None:
    before = salaries(house)
    row = {"id": 1, "plant": "A", "lot": "L1"}
    hidden, never = (house.ask("alpha", path, method, {**row, name: 1}) for name in (HIDDEN, NEVER))
    assert (hidden.status, never.status) == (422, 422)
    assert same(hidden.json, never.json), (hidden.json, never.json)
    assert salaries(house) == before


def test_who_sees_only_the_mask_cannot_set_the_field(house: House) -> None:
    assert house.ask("alpha", "/api/v1/items/1", "PATCH", {"inspector": "王五"}).status == 422


def test_a_mask_is_not_reversed_by_filters(house: House) -> None:
    """Masked values are compared with masked values only: searching for the true one finds nothing."""
    assert [row["inspector"] for row in house.ask("people", "/api/v1/items?order=id").json] == ["张三丰", "李四"]
    masked = [row["inspector"] for row in house.ask("alpha", "/api/v1/items?order=id").json]
    assert "张三丰" not in masked
    for question in ("inspector=eq.张三丰", "inspector=like.*三丰", "inspector=in.(张三丰,李四)", "inspector=match.三"):
        name, _, value = question.partition("=")
        answer = house.ask("alpha", f"/api/v1/items?{name}={quoted(value)}")
        assert answer.status in (200, 422)
        assert answer.status == 422 or answer.json == []


def test_the_cache_of_who_may_more_is_not_given_to_who_may_less(house: House) -> None:
    path = "/api/v1/items?select=id,inspector&order=id&limit=2"
    for _ in range(2):
        assert "张三丰" in house.ask("people", path).body.decode()
        assert "张三丰" not in house.ask("alpha", path).body.decode()


def test_an_entity_tag_tells_nothing_of_hidden_fields(house: House) -> None:
    before = house.ask("alpha", "/api/v1/items/1").headers["etag"]
    with psycopg.connect(house.shop) as connection:
        connection.execute("UPDATE items SET salary = salary + 0 WHERE id = 1")
        connection.execute("UPDATE items SET salary = 1971234711 WHERE id = 1")
    assert house.ask("alpha", "/api/v1/items/1").headers["etag"] == before
    assert house.ask("people", "/api/v1/items/1").headers["etag"] != before


def salaries(house: House) -> list[tuple[Any, ...]]:
    with psycopg.connect(house.shop) as connection:
        return connection.execute("SELECT id, salary FROM items ORDER BY id").fetchall()


def quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="*(),.")
