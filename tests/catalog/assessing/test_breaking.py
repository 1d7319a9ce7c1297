"""Which changes of a vendor's document break its callers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tongqu.catalog.assessing.breaking import changes
from tongqu.catalog.assessing.openapi import interface_of
from tongqu.catalog.assessing.shapes import Interface
from tongqu.kit.openapi.document import read_document
from tongqu.testing.planted_interface import planted

Edit = Callable[[dict[str, Any]], Any]


def read(raw: dict[str, Any]) -> Interface:
    return interface_of(read_document(json.dumps(raw).encode(), "vendor.json"))


def after(edit: Edit) -> list[tuple[str, bool, str]]:
    raw = planted()
    edit(raw)
    return [(one.what, one.breaking, one.name) for one in changes(read(planted()), read(raw))]


def schema(raw: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = raw["components"]["schemas"][name]
    return found


def results(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = raw["paths"]["/inspection-results"]["get"]
    return found


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda raw: None, []),
        (lambda raw: raw["paths"].pop("/standards"), [("operation.removed", True, "")]),
        (lambda raw: results(raw).update(deprecated=True), [("operation.deprecated", False, "")]),
        (lambda raw: results(raw)["parameters"].pop(0), [("parameter.removed", True, "page")]),
        (
            lambda raw: results(raw)["parameters"].append({"name": "plant", "in": "query", "required": True}),
            [("parameter.required", True, "plant")],
        ),
        (
            lambda raw: results(raw)["parameters"].append({"name": "plant", "in": "query"}),
            [("parameter.added", False, "plant")],
        ),
        (
            lambda raw: schema(raw, "Plan")["properties"].update(plan_no={"type": "integer"}),
            [("field.retyped", True, "items[].plan_no")],
        ),
        (
            lambda raw: schema(raw, "Plan")["properties"].update(site={"type": "string"}),
            [("field.added", False, "items[].site")],
        ),
        (
            lambda raw: schema(raw, "Standard")["properties"].pop("upper_limit"),
            [("field.removed", True, "items[].upper_limit")],
        ),
        (lambda raw: schema(raw, "Plan").update(required=[]), [("field.optional", True, "items[].plan_no")]),
        (lambda raw: raw["servers"].append({"url": "https://second.example"}), []),
        (lambda raw: raw.update(servers=[{"url": "https://new.example"}]), [("server.removed", True, "")]),
        (lambda raw: raw.update(info={"title": "New words", "version": "1.5.0"}), []),
    ],
)
def test_changes(edit: Edit, expected: list[tuple[str, bool, str]]) -> None:
    assert after(edit) == expected


def test_what_is_sent_and_received_is_judged_both_ways() -> None:
    needed = after(lambda raw: schema(raw, "Nonconformity").update(required=["nc_no", "lot_no"]))
    assert needed == [("field.required", True, "lot_no")]
    fewer = after(
        lambda raw: schema(raw, "Nonconformity")["properties"].update(state={"type": "string", "enum": ["open"]})
    )
    assert fewer == [("choice.removed", True, "state")]
    more = after(lambda raw: schema(raw, "Nonconformity")["properties"]["state"]["enum"].append("held"))
    assert set(more) == {("choice.added", False, "items[].state"), ("choice.added", False, "state")}


def test_a_schema_that_is_only_renamed_is_no_change() -> None:
    raw = json.loads(json.dumps(planted()).replace("schemas/Result", "schemas/ResultDto"))
    raw["components"]["schemas"]["ResultDto"] = raw["components"]["schemas"].pop("Result")
    assert changes(read(planted()), read(raw)) == []


def test_another_way_in_breaks_and_one_more_does_not() -> None:
    def another(raw: dict[str, Any]) -> None:
        raw["components"]["securitySchemes"]["key"] = {"type": "apiKey", "in": "header", "name": "X-Key"}
        raw["security"] = [{"key": []}]

    def more(raw: dict[str, Any]) -> None:
        another(raw)
        raw["security"] = [{"token": ["quality"]}, {"key": []}]

    assert {one[:2] for one in after(another)} == {("access.changed", True)}
    assert after(more) == []
