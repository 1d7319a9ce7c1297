"""Files of cases after the document changed."""

from __future__ import annotations

from typing import Any

from tongqu.catalog.cases.calls import cases_of
from tongqu.catalog.cases.entries import CaseFile
from tongqu.catalog.cases.renewing import renewed
from tongqu.kit.openapi.document import Document


def made(**size: Any) -> CaseFile:
    parameter = {"name": "size", "in": "query", "schema": {"type": "integer", **size}}
    raw = {"openapi": "3.0.3", "paths": {"/lots": {"get": {"parameters": [parameter], "responses": {"200": {}}}}}}
    document = Document(raw, "x")
    return cases_of(document, next(document.operations()), "mes")


def ids(held: dict[str, Any]) -> list[str]:
    return [one["id"] for one in held["cases"]]


def test_nothing_changes_without_a_change() -> None:
    first = renewed(None, made(maximum=50))
    again = renewed(first.values, made(maximum=50))
    assert first.differs
    assert not again.differs
    assert again.values == first.values


def test_what_is_new_changed_and_obsolete_is_told() -> None:
    held = renewed(None, made(maximum=50)).values
    result = renewed(held, made(minimum=1, maximum=99))
    assert result.new == ("size.least", "size.below")
    assert set(result.changed) == {"size.greatest", "size.above"}
    assert renewed(held, made()).obsolete == ("size.greatest", "size.above")
    assert "size.above" in ids(renewed(held, made()).values)


def test_edited_cases_and_own_ones_stay() -> None:
    held = renewed(None, made(maximum=50)).values
    above = next(one for one in held["cases"] if one["id"] == "size.above")
    above["expect"] = {"status": ["200"]}
    held["cases"].append({"id": "mine", "kind": "normal", "request": {"path": "/lots", "query": {"size": 7}}})
    result = renewed(held, made(maximum=99))
    assert result.edited == ("size.above",)
    assert result.own == ("mine",)
    assert next(one for one in result.values["cases"] if one["id"] == "size.above") == above
    assert ids(result.values)[-1] == "mine"


def test_a_case_that_is_switched_off_is_made_anew_and_stays_off() -> None:
    held = renewed(None, made(maximum=50)).values
    above = next(one for one in held["cases"] if one["id"] == "size.above")
    above["enabled"] = False
    result = renewed(held, made(maximum=99))
    assert "size.above" in result.changed
    assert next(one for one in result.values["cases"] if one["id"] == "size.above")["enabled"] is False
