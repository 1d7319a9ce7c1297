"""Whether values fit the schemas of a document."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.catalog.cases.fitting import violations
from tongqu.kit.openapi.document import Document


def wrong(value: Any, schema: Any, *, answer: bool = False, **schemas: Any) -> list[tuple[str, str]]:
    return violations(
        Document({"openapi": "3.0.3", "components": {"schemas": schemas}}, "x"), value, schema, answer=answer
    )


@pytest.mark.parametrize(
    ("value", "schema", "found"),
    [
        (5, {"type": "integer", "minimum": 6}, [(".", "least")]),
        (6, {"type": "integer", "minimum": 6, "exclusiveMinimum": True}, [(".", "least")]),
        (6, {"type": "integer", "exclusiveMaximum": 6}, [(".", "most")]),
        (True, {"type": "integer"}, [(".", "type")]),
        (1.0, {"type": "integer"}, []),
        (None, {"type": "string"}, [(".", "null")]),
        (None, {"type": "string", "nullable": True}, []),
        (None, {"type": ["string", "null"]}, []),
        ("界界", {"type": "string", "maxLength": 1}, [(".", "longest")]),
        ("", {"type": "string", "minLength": 1}, [(".", "shortest")]),
        ("L1", {"type": "string", "pattern": "^L[0-9]{8}$"}, [(".", "pattern")]),
        ("2026-02-30", {"type": "string", "format": "date"}, [(".", "format")]),
        ("2026-02-28T10:00:00", {"type": "string", "format": "date-time"}, [(".", "format")]),
        ("b", {"enum": ["a"]}, [(".", "choice")]),
        ({"a": [{}]}, {"properties": {"a": {"items": {"required": ["b"]}}}}, [("a[].b", "missing")]),
        ({"x": 1}, {"type": "object", "additionalProperties": False}, [("x", "unknown")]),
        (1, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, [(".", "several")]),
        ("a", {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, [(".", "none")]),
        ([1, 1], {"type": "array", "uniqueItems": True}, [(".", "duplicate")]),
    ],
)  # fmt: skip
def test_what_does_not_fit(value: Any, schema: Any, found: list[tuple[str, str]]) -> None:
    assert wrong(value, schema) == found


def test_answers_may_lack_what_is_only_written_and_requests_what_is_only_read() -> None:
    schema = {"required": ["id", "secret"], "properties": {"id": {"readOnly": True}, "secret": {"writeOnly": True}}}
    assert wrong({"id": 1}, schema, answer=True) == []
    assert wrong({"secret": 1}, schema) == []


def test_a_schema_that_holds_itself() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}, "n": {"type": "integer"}}}
    assert wrong({"next": {"next": {"n": "x"}}}, {"$ref": "#/components/schemas/Node"}, Node=node) == [
        ("next.next.n", "type")
    ]


_numbers = st.integers(-3, 3)
_lengths = {"minLength": st.integers(0, 3), "maxLength": st.integers(0, 3)}
_kinds = st.sampled_from(["integer", "number"])
_plain = st.one_of(
    st.fixed_dictionaries({"type": _kinds}, optional={"minimum": _numbers, "maximum": _numbers}),
    st.fixed_dictionaries({"type": st.just("string")}, optional=_lengths),
    st.just({"type": "boolean"}),
    st.builds(lambda kind: {"type": [kind, "null"]}, st.sampled_from(["string", "integer"])),
    st.builds(lambda values: {"enum": values}, st.lists(st.sampled_from(["a", "b", 1, 2]), min_size=1, unique=True)),
)
_schemas = st.recursive(
    _plain,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"minItems": st.integers(0, 2)}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("ab"), inner)},
            optional={"required": st.lists(st.sampled_from("ab"), unique=True), "additionalProperties": st.booleans()},
        ),
        st.builds(lambda many: {"anyOf": many}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, st.sampled_from([0.5, 1.0]), st.sampled_from(["", "a", "b", "abcd"])),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(_schemas, _values)
def test_the_same_verdict_as_another_implementation(schema: dict[str, Any], value: Any) -> None:
    assert (not wrong(value, schema)) is jsonschema.Draft202012Validator(schema).is_valid(value)
