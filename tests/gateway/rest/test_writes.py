"""POST, PATCH, PUT and DELETE: what may be written, in which words, and what comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.gateway.rest.plant import ACCESS, QUALITY, WRITE, Plant, run

from tongqu.core.policy import Actor

SHOW = "return=representation"
READER = Actor("client:reader", roles=frozenset(("reader",)), attributes={"plant": "A"})


def new(number: int, **more: Any) -> dict[str, Any]:
    """A new inspection."""
    return {"id": number, "lot": f"L{number}", "plant": "A", **more}


def test_rows_are_added(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        one = await plant.call("POST", "items", orjson.dumps(new(10, weight="3.125")))
        assert (one.status, one.body, one["location"]) == (201, b"", "/api/v1/items/10")
        told = await plant.call(
            "POST", "items?select=id,line(title)", orjson.dumps([new(11, line_id=1), new(12, line_id=2)]),
            prefer=f"{SHOW},count=exact",
        )  # fmt: skip
        assert (told.status, told["content-range"]) == (201, "*/2")
        assert told.json == [{"id": 11, "line": {"title": "press"}}, {"id": 12, "line": {"title": "涂装"}}]
        assert (one.request.notes.action, one.request.notes.rows, one.request.notes.fields) == (
            "insert", 1, ["id", "lot", "plant", "weight"],
        )  # fmt: skip
        again = await plant.call("POST", "items", orjson.dumps(new(10)))
        assert (again.status, again.json["code"]) == (409, "row.conflict")

    run(tmp_path, work)


def test_bulk_rows_have_the_same_fields_or_say_what_is_missing(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        rows = orjson.dumps([new(10, passed=False), new(11)])
        assert (await plant.call("POST", "items", rows)).json["code"] == "body.invalid"
        null = await plant.call("POST", "items?columns=id,lot,plant,passed&select=passed", rows, prefer=SHOW)
        assert null.json == [{"passed": False}, {"passed": None}]
        rows = orjson.dumps([new(12, passed=False), new(13)])
        default = await plant.call("POST", "items?select=id,passed", rows, prefer=f"{SHOW},missing=default")
        assert default.json == [{"id": 12, "passed": False}, {"id": 13, "passed": True}]
        some = await plant.call("POST", "items?columns=id,lot,plant", orjson.dumps(new(14, salary=1, x=2)))
        assert some.status == 201

    run(tmp_path, work)


def test_merging_and_ignoring(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        merge, ignore = "resolution=merge-duplicates", "resolution=ignore-duplicates"
        rows = orjson.dumps([new(1), new(10)])
        merged = await plant.call("POST", "items?on_conflict=id&select=id,lot", rows, prefer=f"{merge},{SHOW}")
        assert (merged.status, merged.json) == (201, [{"id": 1, "lot": "L1"}, {"id": 10, "lot": "L10"}])
        only = await plant.call("POST", "items", orjson.dumps(new(1, lot="again")), prefer=merge)
        assert only.status == 200
        ignored = await plant.call(
            "POST", "items?select=id", orjson.dumps([new(1), new(11)]), prefer=f"{ignore},{SHOW}"
        )
        assert ignored.json == [{"id": 11}]
        assert (await plant.call("GET", "items/1?select=lot")).json == {"lot": "again"}
        loose = await plant.call("POST", "items?on_conflict=lot", orjson.dumps(new(1)), prefer=merge)
        assert loose.json["code"] == "query.malformed"
        nothing = await plant.call("POST", "items", "[]", prefer=f"{merge},{SHOW}")
        assert (nothing.status, nothing.json) == (200, [])
        foreign = await plant.call("POST", "items", orjson.dumps([new(12), new(4)]), prefer=merge)
        assert foreign.json["code"] == "row.conflict"
        assert (await plant.call("GET", "items/12")).status == 404

    run(tmp_path, work)


def test_rows_are_changed_and_deleted(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        some = await plant.call(
            "PATCH", "items?id=lt.3&select=id,weight", '{"weight": 9}', prefer=f"{SHOW},count=exact"
        )
        assert (some.status, some["content-range"]) == (200, "0-1/2")
        assert some.json == [{"id": 1, "weight": 9.0}, {"id": 2, "weight": 9.0}]
        quiet = await plant.call("PATCH", "items?id=eq.99", '{"weight": 9}')
        assert (quiet.status, quiet["content-range"]) == (204, "*/*")
        assert (await plant.call("PATCH", "items/1", "{}")).status == 204
        by_key = await plant.call("PATCH", "items/1?select=id,passed", '{"passed": false}', prefer=SHOW)
        assert by_key.json == {"id": 1, "passed": False}
        assert (await plant.call("PATCH", "items/4", '{"weight": 1}')).json["code"] == "row.unknown"
        gone = await plant.call("DELETE", "items/1?select=id", "{}", prefer=SHOW)
        assert (gone.status, gone.json) == (200, {"id": 1})
        assert (await plant.call("DELETE", "items/1")).status == 404
        assert (await plant.call("DELETE", "items?id=eq.4")).status == 204
        assert (await plant.call("GET", "defects?item_id=eq.4&select=item_id")).json == [{"item_id": 4}]

    run(tmp_path, work)


def test_changes_of_everything_or_of_too_much_are_refused(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        for method in ("PATCH", "DELETE"):
            assert (await plant.call(method, "items", "{}")).json["code"] == "write.unfiltered"
        few = await plant.call("DELETE", "items?id=gt.0", prefer="handling=strict,max-affected=2")
        assert few.json["code"] == "write.too_many"
        media = "application/vnd.pgrst.object+json"
        one = await plant.call("PATCH", "items?id=gt.0", '{"weight":1}', prefer=SHOW, accept=media)
        assert one.json["code"] == "row.single"
        assert len((await plant.call("GET", "items?weight=not.eq.1&select=id")).json) == 3
        assert (await plant.call("PATCH", "items?id=eq.1&limit=1", "{}")).json["code"] == "query.malformed"
        assert (await plant.call("POST", "items?id=eq.1", "{}")).json["code"] == "method.refused"
        many = orjson.dumps([new(number) for number in range(100, 1101)])
        assert (await plant.call("POST", "items", many)).json["code"] == "body.invalid"

    run(tmp_path, work)


def test_a_row_is_replaced_whole(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        put = await plant.call("PUT", "items/1?select=id,lot,weight", '{"lot": "P", "plant": "A"}', prefer=SHOW)
        assert (put.status, put.json) == (200, {"id": 1, "lot": "P", "weight": None})
        assert (await plant.call("PUT", "items/20", '{"lot": "P", "plant": "A"}')).status == 201
        assert (await plant.call("PUT", "items/20", '{"lot": "Q", "plant": "A"}')).status == 204
        there = await plant.call("PUT", "items/20", '{"lot": "R", "plant": "A"}', if_none_match="*")
        assert there.json["code"] == "row.changed"
        named = await plant.call("PUT", "items?id=eq.21", '{"id": 21, "lot": "S", "plant": "A"}')
        assert named.status == 201
        other = await plant.call("PUT", "items/20", '{"id": 21, "lot": "S", "plant": "A"}')
        assert other.json["errors"][0]["pointer"] == "/id"
        assert (await plant.call("PUT", "items?id=gt.1", '{"lot": "S"}')).json["code"] == "query.malformed"

    run(tmp_path, work)


def test_hidden_foreign_and_unknown_fields_cannot_be_set(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        for method, target in (("POST", "items"), ("PATCH", "items?id=eq.1"), ("PUT", "items/1")):
            hidden = await plant.call(method, target, orjson.dumps({"lot": "x", "salary": 1}))
            unknown = await plant.call(method, target, orjson.dumps({"lot": "x", "nowhere": 1}))
            assert hidden.json["code"] == "field.unknown", hidden.body
            assert hidden.body.replace(b"salary", b"nowhere") == unknown.body
        hidden = await plant.call(
            "POST", "items?on_conflict=salary", orjson.dumps(new(9)), prefer="resolution=merge-duplicates"
        )
        assert hidden.status == 422
        filtered = await plant.call("DELETE", "items?salary=eq.100")
        assert filtered.json["code"] == "field.unknown"
        assert (await plant.call("GET", "items/1")).status == 200

    run(tmp_path, work)


def test_the_row_rule_holds_before_and_after(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        assert (await plant.call("POST", "items", orjson.dumps(new(10, plant="B")))).json["code"] == "access.denied"
        assert (await plant.call("PATCH", "items/1", '{"plant": "B"}')).json["code"] == "access.denied"
        assert (await plant.call("PATCH", "items?id=eq.4", '{"weight": 0}', prefer=SHOW)).json == []
        assert (await plant.call("GET", "items?select=id&order=id")).json == [{"id": n} for n in (1, 2, 3, 5)]

    run(tmp_path, work)


def test_who_may_only_read_is_told_so_and_closed_doors_stay_closed(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        assert (await plant.call("POST", "items", orjson.dumps(new(10)), actor=READER)).json["code"] == "access.denied"
        closed = await plant.call("DELETE", "defects?item_id=eq.1")
        assert (closed.status, closed.json["code"]) == (405, "method.refused")

    access = {"items": {**ACCESS["items"], "roles": ["quality", "reader"]}}
    run(tmp_path, work, access=access, entries={"defects": {"write": {"insert": True}}})


RULES = {
    "lot": {"required": True, "pattern": "L[0-9]+"}, "weight": {"min": 0, "max": 500}, "plant": {"enum": ["A", "B"]},
    "made": {"min": "2020-01-01"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "pointer", "code"),
    [
        ({"id": 10, "plant": "A"}, "/lot", "required"),
        (new(10, lot=None), "/lot", "type"),
        (new(10, lot="x7"), "/lot", "pattern"),
        (new(10, weight=500.5), "/weight", "range"),
        (new(10, weight="-0.001"), "/weight", "range"),
        (new(10, weight="much"), "/weight", "type"),
        (new(10, plant="C"), "/plant", "enum"),
        (new(10, made="2019-12-31"), "/made", "range"),
        (new(10, made="31.12.2019"), "/made", "type"),
        (new(10, passed="yes"), "/passed", "type"),
        (new(2**63), "/id", "range"),
        (new(10, line_id="1"), "/line_id", "type"),
    ],
)
def test_rows_are_held_against_the_dictionary(tmp_path: Path, row: dict[str, Any], pointer: str, code: str) -> None:
    async def work(plant: Plant) -> None:
        import json

        told = await plant.call("POST", "items", json.dumps(row))
        assert told.status == 422, told.body
        assert [(error["pointer"], error["code"]) for error in told.json["errors"]] == [(pointer, code)]
        bulk = await plant.call("POST", "items", json.dumps([row]))
        assert bulk.json["errors"][0]["pointer"] == f"/0{pointer}"

    run(tmp_path, work, rules=RULES)


def test_a_text_may_have_to_be_readable_as_a_type(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        assert (await plant.call("POST", "items", orjson.dumps(new(10, lot="12.5")))).status == 201
        told = await plant.call("POST", "items", orjson.dumps(new(11, lot="twelve")))
        assert told.json["errors"] == [{"pointer": "/lot", "code": "type", "detail": "it must be a number"}]

    run(tmp_path, work, rules={"lot": {"type": "decimal(12,3)"}})


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("text/csv", 'id,lot,plant,weight,passed\r\n30,"a ""b""",A,1.25,false\r\n31,中,A,,NULL\r\n'),
        (
            "application/xml",
            '<rows><row><id>30</id><lot>a "b"</lot><plant>A</plant><weight>1.25</weight><passed>false</passed></row>'
            '<row xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id>31</id><lot>中</lot><plant>A</plant>'
            '<weight xsi:nil="true"/><passed xsi:nil="true"/></row></rows>',
        ),
    ],
)
def test_rows_come_as_csv_and_xml(tmp_path: Path, media: str, body: str) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("POST", "items?select=id,lot,weight,passed", body, content_type=media, prefer=SHOW)
        assert told.json == [
            {"id": 30, "lot": 'a "b"', "weight": 1.25, "passed": False},
            {"id": 31, "lot": "中", "weight": None, "passed": None},
        ], told.body

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", b"{"), ("application/json", b'"x"'), ("application/json", b'[1]'),
        ("application/json", b'{"id":1,"id":2}'), ("application/json", b'{"id":NaN}'), ("application/json", b"\xff"),
        ("application/json", b"[" * 100_000), ("application/json", b'{"weight":1' + b"0" * 200 + b".5}"),
        ("text/csv", b""), ("text/csv", b"id,id\n1,2\n"), ("text/csv", b"id,lot\n1\n"),
        ("application/xml", b"<rows><row><id>1<b/></id></row></rows>"), ("application/xml", b"<other/>"),
        ("application/xml", b'<!DOCTYPE r [<!ENTITY e "x">]><row><id>&e;</id></row>'),
    ],
)  # fmt: skip
def test_malformed_bodies_are_refused(tmp_path: Path, media: str, body: bytes) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("POST", "items", body, content_type=media)
        assert told.status in (400, 413), told.body

    run(tmp_path, work)


def test_other_media_and_large_bodies_are_refused(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        assert (await plant.call("POST", "items", "x", content_type="text/html")).status == 415
        large = await plant.call("POST", "items", orjson.dumps(new(10, lot="x" * 2000)))
        assert large.status == 413

    run(tmp_path, work, entries={"items": {"limit": {"body_kb": 1}}})


def test_a_change_can_be_bound_to_the_row_that_was_read(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        assert (await plant.call("PATCH", "items/1", '{"weight": 8}')).json["code"] == "row.unconditional"
        assert (await plant.call("DELETE", "items/1")).status == 428
        tag = (await plant.call("GET", "items/1"))["etag"]
        first = await plant.call("PATCH", "items/1", '{"weight": 8}', if_match=tag, prefer=SHOW)
        assert first.status == 200
        lost = await plant.call("PATCH", "items/1", '{"weight": 9}', if_match=tag)
        assert (lost.status, lost.json["code"]) == (412, "row.changed")
        assert first["etag"] == (await plant.call("GET", "items/1"))["etag"]
        put = await plant.call("PUT", "items/1", '{"lot": "P", "plant": "A"}', if_match=first["etag"], prefer=SHOW)
        assert (put.status, put.json["weight"]) == (200, None)
        by_xml = (await plant.call("GET", "items/1", accept="application/xml"))["etag"]
        assert (await plant.call("DELETE", "items/1", if_match=by_xml)).status == 204
        assert (await plant.call("DELETE", "items/1", if_match="*")).status == 412

    run(tmp_path, work, entries={"items": {"write": {**WRITE, "conditional": True}}})


def test_a_repetition_is_not_mistaken_for_somebody_elses_change(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        tag = (await plant.call("GET", "items/1"))["etag"]
        again = [
            await plant.call("PATCH", "items/1", '{"weight": 8}', if_match=tag, idempotency_key="k") for _ in range(2)
        ]
        assert [(told.status, told["idempotent-replayed"]) for told in again] == [(204, ""), (204, "true")]
        late = [
            await plant.call("PATCH", "items/1", '{"weight": 9}', if_match=tag, idempotency_key="l") for _ in range(2)
        ]
        assert [(told.status, told["idempotent-replayed"]) for told in late] == [(412, ""), (412, "true")]

    run(tmp_path, work)


def test_of_two_who_read_the_same_row_one_wins(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        for round_ in range(3):
            tag = (await plant.call("GET", "items/1"))["etag"]
            tries = [
                plant.call("PATCH", "items/1", orjson.dumps({"weight": round_ * 10 + n}), if_match=tag)
                for n in range(4)
            ]
            codes = sorted(told.status for told in await asyncio.gather(*tries))
            assert codes == [204, 412, 412, 412]

    run(tmp_path, work)


def test_one_key_is_one_effect(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        body = orjson.dumps(new(40))
        assert (await plant.call("POST", "items", body)).json["code"] == "key.missing"
        first = await plant.call("POST", "items?select=id", body, idempotency_key='"k-1"', prefer=SHOW)
        again = await plant.call("POST", "items?select=id", body, idempotency_key="k-1", prefer=SHOW)
        assert (first.status, first.json) == (again.status, again.json) == (201, [{"id": 40}])
        assert (first["idempotent-replayed"], again["idempotent-replayed"]) == ("", "true")
        other = await plant.call("POST", "items?select=id", orjson.dumps(new(41)), idempotency_key="k-1", prefer=SHOW)
        assert (other.status, other.json["code"]) == (422, "key.reused")
        taken = [await plant.call("POST", "items", body, idempotency_key="k-2") for _ in range(2)]
        assert [told.status for told in taken] == [409, 409] and taken[1]["idempotent-replayed"] == "true"
        colleague = Actor("client:b", roles=frozenset(("quality",)), attributes={"plant": "A"})
        fresh = await plant.call("POST", "items", orjson.dumps(new(42)), idempotency_key="k-1", actor=colleague)
        assert fresh.status == 201
        assert (await plant.call("POST", "items", body, idempotency_key="x" * 256)).json["code"] == "request.malformed"

    run(tmp_path, work, entries={"items": {"write": {**WRITE, "idempotency": "required"}}})


def test_what_was_shown_under_other_rights_is_not_shown_again(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        body = orjson.dumps(new(40))
        first = await plant.call("POST", "items?select=id,plant", body, idempotency_key="k-1", prefer=SHOW)
        assert (first.status, first.json) == (201, [{"id": 40, "plant": "A"}])
        short = await plant.call("POST", "items", body, idempotency_key="k-2")
        assert short.json["code"] == "row.conflict"
        moved = replace(QUALITY, attributes={"plant": "B"})
        again = await plant.call("POST", "items?select=id,plant", body, idempotency_key="k-1", prefer=SHOW, actor=moved)
        assert (again.status, again.json["code"]) == (403, "access.denied")
        assert "was made" in again.json["detail"] and b'"id"' not in again.body
        plain = orjson.dumps(new(41))
        assert (await plant.call("POST", "items", plain, idempotency_key="k-3"))["location"] == "/api/v1/items/41"
        told = await plant.call("POST", "items", plain, idempotency_key="k-3", actor=moved)
        assert (told.status, told["location"], told["idempotent-replayed"]) == (201, "", "true")

    run(tmp_path, work)


def test_one_key_at_the_same_time_is_one_effect(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        tries = [plant.call("POST", "items", orjson.dumps(new(50)), idempotency_key="same") for _ in range(6)]
        codes = {told.status for told in await asyncio.gather(*tries)}
        assert codes <= {201, 409} and 201 in codes
        assert (await plant.call("GET", "items?id=eq.50&select=id")).json == [{"id": 50}]

    run(tmp_path, work)


def test_a_refused_constraint_tells_neither_values_nor_sql(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("PATCH", "items?id=lt.3", '{"id": 77}')
        assert told.status in (409, 422)
        assert b"77" not in told.body and b"UPDATE" not in told.body.upper().replace(b"DUPLICATE", b"")

    run(tmp_path, work)


def test_the_scope_of_a_token_limits_what_is_done_with_it(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        def limited(*scopes: str) -> Actor:
            return replace(QUALITY, scopes=frozenset(scopes))

        told = await plant.call("GET", "items", actor=limited("orders:read"))
        assert (told.status, told.json["code"]) == (403, "auth.scope")
        assert told["www-authenticate"] == 'Bearer error="insufficient_scope", scope="items:read"'
        assert (await plant.call("GET", "items", actor=limited("items:read"))).status == 200
        related = await plant.call("GET", "items?select=id,line(title)", actor=limited("items:read"))
        assert related.json["code"] == "field.unknown"
        assert (await plant.call("GET", "items?select=id,line(title)", actor=limited("read"))).status == 200
        for method, target, body in (
            ("POST", "items", orjson.dumps(new(10))), ("PATCH", "items/1", b'{"lot": "x"}'), ("DELETE", "items/1", b""),
        ):  # fmt: skip
            refused = await plant.call(method, target, body, actor=limited("items:read"))
            assert (refused.status, refused.json["code"]) == (403, "auth.scope")
        assert (await plant.call("POST", "items", orjson.dumps(new(10)), actor=limited("write"))).status == 201
        shown = await plant.call("POST", "items", orjson.dumps(new(11)), actor=limited("write"), prefer=SHOW)
        assert shown.json["code"] == "access.denied"
        asked = await plant.call("DELETE", "items?lot=eq.L1", actor=limited("write"))  # what it may not read
        assert asked.json["code"] == "field.unknown"
        stranger = Actor("client:x", roles=frozenset(("sales",)), scopes=frozenset(("items:read",)))
        assert (await plant.call("GET", "items", actor=stranger)).json["code"] == "api.unknown"

    run(tmp_path, work)


def test_a_field_without_a_name_is_unknown_as_any_other(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        for method, target in (("POST", "items"), ("PATCH", "items/1"), ("PUT", "items/1")):
            told = await plant.call(method, target, b'{"id": 1, "lot": "x", "": 1}')
            assert (told.status, told.json["code"]) == (422, "field.unknown")

    run(tmp_path, work)
