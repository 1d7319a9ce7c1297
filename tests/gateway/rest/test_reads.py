"""GET: rows as the caller may see them, in every representation, page by page."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from lxml import etree
from tests.gateway.rest.plant import NOON, QUALITY, Plant, run

from tongqu.core.data import Dataset
from tongqu.core.policy import Actor
from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.policy.compiling import compile_policy
from tongqu.gateway.publication import Api, Publication

HR = Actor("client:hr", roles=frozenset(("quality", "hr")), attributes={"plant": "A"})
STRANGER = Actor("client:stranger", roles=frozenset(("other",)))


def test_rows_are_given_within_the_rule_and_masked(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("GET", "items?select=id,inspector&order=id")
        assert told.json == [
            {"id": 1, "inspector": "张*丰"}, {"id": 2, "inspector": "李*"}, {"id": 3, "inspector": "王*"},
            {"id": 5, "inspector": None},
        ]  # fmt: skip
        assert (told.status, told["content-range"], told["content-type"]) == (
            200, "0-3/*", "application/json; charset=utf-8",
        )  # fmt: skip
        notes = told.request.notes
        assert (notes.api, notes.rows, tuple(notes.fields), tuple(notes.masks)) == (
            "items", 4, ("id", "inspector"), ("inspector",),
        )  # fmt: skip
        plain = await plant.call("GET", "items?select=inspector&id=eq.1", actor=HR)
        assert plain.json == [{"inspector": "张三丰"}] and plain["cache-control"] == "private, no-store"

    run(tmp_path, work)


def test_hidden_and_unknown_fields_are_refused_in_the_same_words(tmp_path: Path) -> None:
    places = [
        "select={}", "select=x:{}", "select={}::text", "select={}.sum()", "{}=eq.1", "order={}", "or=({}.is.null)",
        "select={}->a", "columns={}", "select=line({})", "select={}(id)",
    ]  # fmt: skip

    async def work(plant: Plant) -> None:
        for place in places:
            hidden = await plant.call("GET", f"items?{place.format('salary')}")
            unknown = await plant.call("GET", f"items?{place.format('nowhere')}")
            assert hidden.status == unknown.status and hidden.status in (400, 422), place
            assert hidden.body.replace(b"salary", b"nowhere") == unknown.body, place

    run(tmp_path, work)


def test_who_may_not_read_finds_no_api(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"):
            denied = await plant.call(method, "items/1", "{", actor=STRANGER)
            missing = await plant.call(method, "nothing/1", "{", actor=STRANGER)
            assert (denied.status, denied.body) == (missing.status, missing.body) == (404, denied.body), method
            nobody = await plant.call(method, "items/1", "{", actor=Actor.nobody())
            nowhere = await plant.call(method, "nothing/1", "{", actor=Actor.nobody())
            assert (nobody.status, nobody.body) == (nowhere.status, nowhere.body) == (401, nobody.body), method

    run(tmp_path, work)


def test_one_row_by_key(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("GET", "items/1?select=id,lot")
        assert (told.status, told.json) == (200, {"id": 1, "lot": "L1"})
        for missing in ("items/4", "items/99", "items/1,2", "items/1?id=eq.2"):
            assert (await plant.call("GET", missing)).json["code"] == "row.unknown", missing
        assert (await plant.call("GET", "items/x")).json["code"] == "value.invalid"
        assert (await plant.call("GET", "defects/1,2?select=word")).json == {"word": "scratch"}
        assert (await plant.call("GET", "defects/1%2C2")).status == 404

    run(tmp_path, work)


def test_pages_follow_each_other_by_cursor(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        query = "items?select=id&order=weight.desc.nullslast&limit=2"
        first = await plant.call("GET", query, prefer="count=exact")
        assert (first.status, first.json, first["content-range"]) == (206, [{"id": 5}, {"id": 2}], "0-1/4")
        assert first["preference-applied"] == "count=exact"
        assert first["link"].startswith(f'</api/v1/{query}>; rel="next"')
        second = await plant.call("GET", query, tongqu_after=first["tongqu-next"])
        assert second.json == [{"id": 1}, {"id": 3}]
        last = await plant.call("GET", query, tongqu_after=second["tongqu-next"])
        assert (last.json, last["tongqu-next"]) == ([], "")
        other = await plant.call("GET", query + "&plant=eq.A", tongqu_after=first["tongqu-next"])
        assert other.json["code"] == "cursor.invalid"

    run(tmp_path, work)


def test_ranges_counts_and_ends(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call(
            "GET", "items?order=id&select=id", range="1-2", range_unit="items", prefer="count=exact"
        )
        assert (told.status, told.json, told["content-range"]) == (206, [{"id": 2}, {"id": 3}], "1-2/4")
        behind = await plant.call("GET", "items", range="9-12", prefer="count=exact")
        assert (behind.status, behind["content-range"]) == (416, "*/4")
        planned = await plant.call("GET", "items?limit=1", prefer="count=planned")
        assert planned["content-range"].partition("/")[2].isdigit()
        estimated = await plant.call("GET", "items?limit=1", prefer="count=estimated")
        assert estimated["content-range"] == "0-0/4"
        head = await plant.call("HEAD", "items", prefer="count=exact")
        assert (head.status, head.body, head["content-range"]) == (200, b"", "0-3/4")

    run(tmp_path, work)


def test_every_representation_holds_the_same_rows(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        query = "items?select=id,lot,weight,passed&order=id"
        rows = [
            (1, "L1", "1.500", True),
            (2, "L2", "2.250", False),
            (3, "L3", None, True),
            (5, 'L"5, =x', "5.000", None),
        ]
        lines = (await plant.call("GET", query, accept="text/csv")).body.decode()
        assert list(csv.reader(io.StringIO(lines, newline="")))[1:] == [
            [str(a), b, c or "", {True: "true", False: "false", None: ""}[d]] for a, b, c, d in rows
        ]
        arrow = await plant.call("GET", query, accept="application/vnd.apache.arrow.stream")
        assert pa.ipc.open_stream(arrow.body).read_all().column("weight").to_pylist()[1] == Decimal("2.250")
        xml = etree.fromstring((await plant.call("GET", query, accept="application/xml")).body)
        names = {"r": "urn:tongqu:api:v1:items"}
        assert xml.xpath("r:row/r:weight/text()", namespaces=names) == ["1.500", "2.250", "5.000"]
        schema = etree.XMLSchema(etree.fromstring((await plant.call("GET", "items?xsd")).body))
        whole = etree.fromstring((await plant.call("GET", "items", accept="application/xml")).body)
        assert schema.validate(whole), schema.error_log
        assert b"salary" not in (await plant.call("GET", "items?xsd")).body
        stripped = await plant.call("GET", query, accept="application/vnd.pgrst.array+json;nulls=stripped")
        assert stripped.json[2] == {"id": 3, "lot": "L3", "passed": True}
        assert (await plant.call("GET", "items", accept="image/png")).json["code"] == "accept.unknown"

    run(tmp_path, work)


def test_one_object_is_exactly_one_row(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        media = "application/vnd.pgrst.object+json"
        one = await plant.call("GET", "items?id=eq.1&select=id", accept=media)
        assert (one.json, one["content-type"]) == ({"id": 1}, f"{media}; charset=utf-8")
        none = await plant.call("GET", "items?id=eq.99", accept=media)
        assert (none.status, none.json["code"], none.json["details"]) == (
            406,
            "row.single",
            "The result contains 0 rows",
        )
        assert (await plant.call("GET", "items", accept=media)).status == 406

    run(tmp_path, work)


def test_texts_that_a_spreadsheet_would_run_are_escaped_when_asked(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        row = {"id": -7, "lot": '=HYPERLINK("x")', "plant": "A", "weight": "-1.5"}
        assert (await plant.call("POST", "items", orjson.dumps(row))).status == 201
        query = "items?select=id,lot,weight&id=eq.-7"
        exact = (await plant.call("GET", query, accept="text/csv")).body.decode()
        assert exact.splitlines()[1] == '-7,"=HYPERLINK(""x"")",-1.500'
        safe = (await plant.call("GET", query, accept="text/csv; formulas=escaped")).body.decode()
        assert safe.splitlines()[1] == '-7,"\'=HYPERLINK(""x"")",-1.500'

    run(tmp_path, work)


def test_aggregates_group_by_the_other_outputs(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("GET", "items?select=line_id,count(),total:weight.sum()&order=line_id.asc.nullslast")
        assert told.json == [
            {"line_id": 1, "count": 2, "total": 3.75}, {"line_id": 2, "count": 1, "total": None},
            {"line_id": None, "count": 1, "total": 5.0},
        ]  # fmt: skip

    run(tmp_path, work)


def test_an_sql_source_takes_its_parameters_as_plain_values(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        sql = "SELECT plant, count(*) AS n FROM items WHERE weight >= :least GROUP BY plant"
        schema = await plant.server.columns(sql, {"least": 1})
        least = {"least": {"type": "decimal(12,3)"}}
        entry = ApiEntry.parse(
            {"source": {"connection": "c", "query": sql, "parameters": least}, "access": {"roles": ["quality"]}}
        )
        dataset = Dataset("sums", schema, ("plant",))
        policy = compile_policy(entry.access, dataset, now=lambda: NOON)
        kinds = {"least": pa.field("least", pa.decimal128(12, 3))}
        sums = Api("sums", "v1", entry, dataset, plant.server, "c", policy, "", sql, kinds)
        plant.publication = Publication("8", {("v1", "sums"): sums})
        assert (await plant.call("GET", "sums?least=2&order=plant")).json == [
            {"plant": "A", "n": 2},
            {"plant": "B", "n": 1},
        ]
        assert (await plant.call("GET", "sums?least=4.5&n=gt.0")).json == [{"plant": "A", "n": 1}]
        for wrong in ("sums", "sums?least=x", "sums?least=1%20or%201=1"):
            assert (await plant.call("GET", wrong)).json["code"] == "value.invalid", wrong

    run(tmp_path, work)


def test_entity_tags_tell_what_is_shown_and_nothing_else(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        before = (await plant.call("GET", "items/1"))["etag"]
        same = await plant.call("GET", "items/1", if_none_match=f'"x", {before}')
        assert (same.status, same.body, same["etag"]) == (304, b"", before)
        payroll = Actor("client:pay", roles=frozenset(("pay",)))
        raised = await plant.call("PATCH", "items/1", '{"salary": 999}', actor=payroll)
        assert raised.status == 204, raised.body
        assert (await plant.call("GET", "items/1", if_none_match=before)).status == 304
        other = await plant.call("GET", "items/1", accept="application/xml")
        assert other["etag"] not in (before, "") and other["etag"].startswith(before[:-1])
        assert (await plant.call("GET", "items/1?select=id,lot", actor=QUALITY))["etag"] != before

    pay = {"fields": {"salary": {"roles": ["pay"]}}, "roles": ["quality", "pay"], "write_roles": ["pay"]}
    run(tmp_path, work, access={"items": pay})


@pytest.mark.parametrize(
    "target", ["items?select=id,line(title)", "items?order=line(title)", "items?limit=5&columns=id"]
)
def test_arrow_and_writes_words_have_their_place(tmp_path: Path, target: str) -> None:
    async def work(plant: Plant) -> None:
        told = await plant.call("GET", target, accept="application/vnd.apache.arrow.stream")
        assert told.status in (400, 406)

    run(tmp_path, work)


def test_options_name_what_the_caller_may_do(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        assert (await plant.call("OPTIONS", "items"))["allow"] == "GET, HEAD, OPTIONS, POST, PATCH, PUT, DELETE"
        assert (await plant.call("OPTIONS", "items/1"))["allow"] == "GET, HEAD, OPTIONS, PATCH, PUT, DELETE"
        assert (await plant.call("OPTIONS", "lines"))["allow"] == "GET, HEAD, OPTIONS"
        assert (await plant.call("TRACE", "lines")).status == 405

    run(tmp_path, work)
