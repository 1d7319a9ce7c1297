"""Values made from schemas."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.catalog.cases.fitting import matches, violations
from tongqu.catalog.cases.values import Maker, NoValueError, fitting_text, normal, variants
from tongqu.kit.openapi.document import Document

DOCUMENT = Document({"openapi": "3.0.3"}, "x")
LOT: dict[str, Any] = {
    "type": "object",
    "required": ["lot_no", "weight"],
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "lot_no": {"type": "string", "pattern": "^L[0-9]{8}$"},
        "weight": {"type": "number", "minimum": 0, "maximum": 500},
        "state": {"type": "string", "enum": ["open", "closed"]},
        "made_on": {"type": "string", "format": "date"},
    },
}


def test_a_normal_value_fits_and_is_the_same_each_time() -> None:
    value = normal(Maker(DOCUMENT, "1"), LOT)
    assert violations(DOCUMENT, value, LOT) == []
    assert value == normal(Maker(DOCUMENT, "1"), LOT)
    assert "id" not in value
    assert "id" in normal(Maker(DOCUMENT, "1", answer=True), LOT)


def test_the_document_s_own_example_comes_first_unless_it_is_wrong() -> None:
    assert normal(Maker(DOCUMENT, "1"), {"type": "integer", "example": 7}) == 7
    assert normal(Maker(DOCUMENT, "1"), {"type": "integer", "example": "seven", "maximum": 3}) <= 3


def test_each_number_is_another_value() -> None:
    made = [normal(Maker(DOCUMENT, "1"), {"type": "string"}, name="lot", number=n) for n in range(3)]
    assert made == ["lot-1", "lot-2", "lot-3"]


@pytest.mark.parametrize("pattern", ["^L[0-9]{8}$", r"\d{3}-\d{4}", "[A-Z]{2}", "a+b?c*", r"^\w+\.txt$"])
def test_texts_of_plain_patterns(pattern: str) -> None:
    assert matches(pattern, fitting_text(pattern, Random(1)))  # noqa: S311  # a text for a test


def test_a_pattern_that_is_not_understood_gives_no_value() -> None:
    with pytest.raises(NoValueError):
        normal(Maker(DOCUMENT, "1"), {"type": "string", "pattern": "(a|b)+(?=c)"})


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, [1, 9], [0, 10, None, "not a number"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["xx", "界界界"], ["x", "xxxx", None, {"wrong": "type"}]),
        ({"type": "string", "enum": ["a", "b"]}, ["a", "b"], ["__no_such_choice__", None, {"wrong": "type"}]),
        ({"type": "boolean", "nullable": True}, [], ["perhaps"]),
    ],
)
def test_bounds(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    found = variants(DOCUMENT, schema)
    assert [one.value for one in found if one.fits] == good
    assert [one.value for one in found if not one.fits] == bad


def test_in_a_query_there_is_no_null() -> None:
    assert [one.name for one in variants(DOCUMENT, {"type": "string"}, texts=True)] == []


def _between(kind: str, least: str, most: str, low: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda a, more: {"type": kind, least: a, most: a + more}, st.integers(low, 9), st.integers(0, 9))


_schema = st.one_of(
    _between("integer", "minimum", "maximum", -9),
    _between("string", "minLength", "maxLength", 0),
    st.sampled_from([{"type": "string", "format": "date"}, {"type": "boolean"}, LOT, {"type": "array", "items": LOT}]),
)


@settings(max_examples=60, deadline=None)
@given(_schema, st.integers(0, 3))
def test_what_is_made_fits_and_variants_keep_their_word(schema: dict[str, Any], number: int) -> None:
    assert violations(DOCUMENT, normal(Maker(DOCUMENT, "1"), schema, number=number), schema) == []
    assert all(one.fits is not bool(violations(DOCUMENT, one.value, schema)) for one in variants(DOCUMENT, schema))
