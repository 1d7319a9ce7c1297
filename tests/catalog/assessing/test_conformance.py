"""Answers are compared with their description, and nothing of their values is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.catalog.assessing.conformance import deviations, personal_fields
from tongqu.catalog.assessing.openapi import interface_of
from tongqu.catalog.assessing.shapes import Member, Shape
from tongqu.kit.openapi.document import read_document
from tongqu.testing.planted_interface import planted


def shape(path: str) -> Shape:
    interface = interface_of(read_document(json.dumps(planted()).encode(), "vendor.json"))
    found = next(one.gives for one in interface.operations if one.label == f"GET {path}")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"items": [], "total": 0}, []),
        ({"items": [{"nc_no": "a", "quantity": 3, "state": "open", "more": 1}]}, []),
        ({"items": [{"nc_no": "a", "quantity": 3.0}]}, []),
        ({"items": [{"nc_no": 7}]}, [("items[].nc_no", "type")]),
        ({"items": [{"quantity": True}]}, [("items[].nc_no", "missing"), ("items[].quantity", "type")]),
        ({"items": [{"nc_no": None}]}, [("items[].nc_no", "null")]),
        ({"items": [{"nc_no": "a", "state": "lost"}]}, [("items[].state", "choice")]),
        ({"items": {"nc_no": "a"}}, [("items", "type")]),
        ([], [(".", "type")]),
    ],
)
def test_deviations(answer: Any, expected: list[tuple[str, str]]) -> None:
    assert deviations(answer, shape("/nonconformities")) == expected


def test_masks_are_seen() -> None:
    people = [{"mobile": "138****0001", "name": "x", "id_card": "11010519491231002X"}, {"mobile": "139****0002"}]
    assert personal_fields({"list": people}, None) == {"list[].mobile": True, "list[].id_card": False}
    number = Shape("#/number", "string")
    described = Shape("#", "object", members={"no": Member("no", "#/no", number, description="身份证号, 18 位")})
    assert personal_fields({"no": people[0]["id_card"]}, described) == {"no": False}
