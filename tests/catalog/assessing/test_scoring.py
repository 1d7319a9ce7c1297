"""What is planted in a document comes out as exactly that score."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.catalog.assessing.checklist import READY, ready
from tongqu.catalog.assessing.findings import SEVERITIES
from tongqu.catalog.assessing.measured import Called, Measured, Tls
from tongqu.catalog.assessing.openapi import interface_of
from tongqu.catalog.assessing.scenarios import coverage
from tongqu.catalog.assessing.scoring import Assessment, assess
from tongqu.kit.openapi.document import read_document
from tongqu.testing.planted_interface import COVERED, MISSING, PARTIAL, UNDESCRIBED, planted


def judged(raw: dict[str, Any], checklist: str = "qms", measured: Measured | None = None) -> Assessment:
    interface = interface_of(read_document(json.dumps(raw).encode(), "vendor.json"))
    return assess(interface, [coverage(interface, ready(checklist))], measured)


def check(found: Assessment, id: str) -> dict[str, Any]:
    return next(one for one in found.to_json()["checks"] if one["id"] == id)


def test_six_of_ten_scenarios_and_three_of_ten_key_fields() -> None:
    found = judged(planted())
    document = found.to_json()
    assert document["axes"]["business"]["score"] == 60.0
    states = {one["scenario"]: one["state"] for one in document["coverage"][0]["scenarios"]}
    assert states == dict.fromkeys(COVERED, "covered") | dict.fromkeys(PARTIAL, "partial") | dict.fromkeys(
        MISSING, "missing"
    )
    described = check(found, "descriptions")
    assert (described["params"]["count"], described["params"]["without"], described["params"]["share"]) == (10, 3, 0.3)
    assert described["score"] == 0.7
    assert {one["place"] for one in described["evidence"]} == set(UNDESCRIBED)


def test_every_verdict_says_why() -> None:
    verdicts = {one.scenario: one for one in judged(planted()).coverages[0].verdicts}
    standards = verdicts["inspection_standards"]
    assert (standards.operation, standards.place) == ("GET /standards", "#/paths/~1standards/get")
    assert standards.because == ("GET: read", "“standard”")
    assert {name: found.path for name, found in standards.fields.items()} == {
        "item": "item_code", "upper": "upper_limit", "lower": "lower_limit",
    }  # fmt: skip
    assert verdicts["inspection_results_changed"].lacks == ("@incremental",)


def test_a_field_that_is_gone_makes_a_scenario_partial() -> None:
    raw = planted()
    del raw["components"]["schemas"]["Standard"]["properties"]["upper_limit"]
    verdict = next(v for v in judged(raw).coverages[0].verdicts if v.scenario == "inspection_standards")
    assert (verdict.state, verdict.lacks) == ("partial", ("upper",))


def test_a_parameter_for_changes_covers_the_incremental_scenario() -> None:
    raw = planted()
    parameters = raw["paths"]["/inspection-results"]["get"]["parameters"]
    parameters.append({"name": "updated_since", "in": "query", "schema": {"type": "string"}})
    assert judged(raw).scores["business"] == 70.0


def test_what_is_not_measured_does_not_count() -> None:
    found = judged(planted())
    unmeasured = {one["id"] for one in found.to_json()["checks"] if one["score"] is None}
    assert unmeasured >= {"latency", "conformance", "tls", "ciphers", "certificate", "enforced", "headers"}
    there = [one for one in found.checks if one.axis == "security" and one.score is not None]
    mean = 100 * sum((one.score or 0) * one.weight for one in there) / sum(one.weight for one in there)
    assert found.scores["security"] == round(mean, 1)


def test_the_whole_is_the_weighted_mean_of_the_axes() -> None:
    found = judged(planted())
    business, technical, security = (found.scores[axis] or 0 for axis in ("business", "technical", "security"))
    assert found.score == round(0.4 * business + 0.35 * technical + 0.25 * security, 1)
    alone = assess(found.interface, [])
    assert alone.scores["business"] is None
    rest = 0.35 * (alone.scores["technical"] or 0) + 0.25 * (alone.scores["security"] or 0)
    assert alone.score == round(rest / 0.6, 1)


def test_measurements_count() -> None:
    calls = (
        Called("GET /standards", "#/x", 200, (0.01, 0.02), checked=True),
        Called("GET /inspection-plans", "#/y", 200, (0.4,), checked=True, deviations=(("items[].plan_no", "missing"),)),
    )
    tls = Tls("qms.example:443", "TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", ("TLSv1",), 12)
    headers = {"x-content-type-options": "nosniff", "x-ratelimit-limit": "600", "server": "nginx/1.18"}
    found = judged(planted(), measured=Measured(calls, tls, headers, ("GET /standards → 2xx",), ()))
    scores = {one.id: one.score for one in found.checks}
    assert scores["latency"] == 0.75
    assert scores["conformance"] == 0.5
    assert scores["tls"] == 0.4
    assert (scores["ciphers"], scores["certificate"], scores["enforced"], scores["limits"]) == (1.0, 0.5, 0.0, 1.0)
    assert scores["headers"] == pytest.approx(1 / 3)
    ids = [one.id for one in found.findings]
    assert {"tls.old", "certificate.soon", "enforced.open", "headers.tell", "conformance.deviates"} <= set(ids)
    levels = [SEVERITIES.index(one.severity) for one in found.findings]
    assert levels == sorted(levels)


@pytest.mark.parametrize(
    ("scheme", "score"),
    [
        ({"type": "http", "scheme": "bearer"}, 0.9),
        ({"type": "http", "scheme": "basic"}, 0.4),
        ({"type": "apiKey", "in": "query", "name": "key"}, 0.2),
        ({"type": "apiKey", "in": "header", "name": "X-Key"}, 0.6),
        ({"type": "mutualTLS"}, 1.0),
    ],
)
def test_authentication_by_its_strength(scheme: dict[str, Any], score: float) -> None:
    raw = planted()
    raw["components"]["securitySchemes"]["token"] = scheme
    assert check(judged(raw), "auth")["score"] == score


def test_no_authentication_is_a_high_finding() -> None:
    raw = planted("http://qms.example/api")
    del raw["security"]
    found = judged(raw)
    assert (check(found, "auth")["score"], check(found, "transport")["score"]) == (0, 0)
    assert {("auth.none", "high"), ("transport.plain", "high")} <= {(one.id, one.severity) for one in found.findings}


def test_swagger_2_is_the_same_interface() -> None:
    raw = planted()
    schemas = json.loads(json.dumps(raw["components"]["schemas"]).replace("components/schemas", "definitions"))
    text = json.dumps(raw["paths"]).replace("components/schemas", "definitions")
    paths = json.loads(text)
    for item in paths.values():
        for operation in item.values():
            for answer in operation["responses"].values():
                if "content" in answer:
                    answer["schema"] = answer.pop("content")["application/json"]["schema"]
            if "requestBody" in operation:
                schema = operation.pop("requestBody")["content"]["application/json"]["schema"]
                operation["parameters"] = [{"name": "body", "in": "body", "schema": schema}]
    old = {
        "swagger": "2.0",
        "info": raw["info"],
        "host": "qms.example",
        "basePath": "/v1",
        "paths": paths,
        "definitions": schemas,
    }
    found = judged(old)
    assert found.scores["business"] == 60.0
    assert check(found, "descriptions")["score"] == 0.7
    assert check(found, "protocol")["score"] == 0.7


@pytest.mark.parametrize("name", READY)
def test_ready_checklists_have_ten_scenarios_in_both_languages(name: str) -> None:
    found = ready(name)
    assert len(found.scenarios) == 10
    assert all(set(one.title) == {"zh", "en"} for one in found.scenarios.values())


def test_circles_end() -> None:
    raw = planted()
    raw["components"]["schemas"]["Plan"]["properties"]["next"] = {"$ref": "#/components/schemas/Plan"}
    raw["components"]["schemas"]["Loop"] = {"allOf": [{"$ref": "#/components/schemas/Loop"}]}
    raw["components"]["schemas"]["Plan"]["properties"]["loop"] = {"$ref": "#/components/schemas/Loop"}
    assert judged(raw).scores["business"] == 60.0


def test_schemas_that_multiply_end() -> None:
    raw = planted()
    schemas = raw["components"]["schemas"]
    for number in range(40):
        again = [{"$ref": f"#/components/schemas/B{(number + step) % 40}"} for step in range(1, 11)]
        schemas[f"B{number}"] = {"allOf": again, "oneOf": again, "properties": {f"p{number}": {"type": "string"}}}
    schemas["Plan"]["properties"]["bomb"] = {"$ref": "#/components/schemas/B0"}
    assert judged(raw).scores["business"] == 60.0


def test_the_same_document_gives_the_same_assessment() -> None:
    assert judged(planted()).to_json() == judged(planted()).to_json()


def test_a_field_that_stands_in_an_address_is_a_key() -> None:
    def gives(schema: dict[str, Any]) -> dict[str, Any]:
        return {"responses": {"200": {"description": "ok", "content": {"application/json": {"schema": schema}}}}}

    record = {"type": "object", "properties": {"id": {"type": "string"}, "text": {"type": "string"}}}
    listed = gives({"type": "object", "properties": {"items": {"type": "array", "items": record}}})
    wrapped = {"lineNo": {"type": "integer"}, "quantity": {"type": "number"}}
    line = gives({"type": "object", "properties": {"data": {"type": "object", "properties": wrapped}}})
    raw = {
        "openapi": "3.0.3", "info": {"title": "Orders", "version": "1"},
        "paths": {"/orders": {"get": listed}, "/orders/{order_id}/lines/{lineNo}": {"get": line}},
    }  # fmt: skip
    described = check(judged(raw), "descriptions")
    assert (described["params"]["count"], described["params"]["without"]) == (2, 2)
    assert {one["place"].rpartition("/")[2] for one in described["evidence"]} == {"id", "lineNo"}
