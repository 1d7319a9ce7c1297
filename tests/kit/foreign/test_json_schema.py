"""What programs say of their records becomes Arrow's types, and back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tongqu.kit.foreign.json_schema import fields, schema_of

NODES: list[tuple[dict[str, Any], str]] = [
    ({"type": "integer"}, "int64"),
    ({"type": ["null", "number"]}, "double"),
    ({"type": ["integer", "number"]}, "double"),
    ({"type": "number", "multipleOf": 0.01}, "decimal128(38, 2)"),
    ({"type": "number", "multipleOf": 1e-05}, "decimal128(38, 5)"),
    ({"type": "number", "multipleOf": 1e-30}, "double"),
    ({"type": "number", "airbyte_type": "integer"}, "int64"),
    ({"type": "boolean"}, "bool"),
    ({"type": "string", "format": "date-time"}, "timestamp[us, tz=UTC]"),
    ({"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"}, "timestamp[us]"),
    ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]}, "string"),
    ({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, "date32[day]"),
    ({"type": "string", "format": "uri"}, "string"),
    ({"enum": ["a", "b", None]}, "string"),
    ({"type": ["string", "integer"]}, "string"),
    ({"type": ["null", "object"]}, "json"),
    ({"type": "array", "items": {"type": "string"}}, "json"),
    ({}, "json"),
    ({"type": ["string", "object"]}, "json"),
]


@pytest.mark.parametrize(("node", "kind"), NODES)
def test_a_node_becomes_a_field(node: dict[str, Any], kind: str) -> None:
    (field,), _ = fields({"properties": {"v": node}}, (), {})
    logical = (field.metadata or {}).get(b"tongqu.logical", b"").decode()
    assert (logical or str(field.type)) == kind


def test_a_key_is_never_null_and_what_is_told_wins() -> None:
    schema = {"properties": {"id": {"type": ["null", "integer"]}, "v": {"type": ["string", "integer"]}}}
    found, loose = fields(schema, ("id",), {"price": "decimal(9,2)"})
    assert [(one.name, str(one.type), one.nullable) for one in found] == [
        ("id", "int64", False), ("v", "string", True), ("price", "decimal128(9, 2)", True),
    ]  # fmt: skip
    assert loose == ("v", "price")


def test_rows_are_described_to_targets() -> None:
    columns: list[pa.Field[Any]] = [
        pa.field("id", pa.int64()), pa.field("at", pa.timestamp("us", "UTC")), pa.field("d", pa.decimal128(5, 2)),
        pa.field("t", pa.list_(pa.int64())),
    ]  # fmt: skip
    found = schema_of(pa.schema(columns), ["id"])["properties"]
    assert found["id"] == {"type": ["integer"]}
    assert found["at"] == {"type": ["string", "null"], "format": "date-time"}
    assert found["d"]["format"] == "singer.decimal"
    assert found["t"]["type"] == ["object", "array", "string", "null"]
