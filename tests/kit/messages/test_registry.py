"""Avro and Protobuf under a schema registry: values by id, unknown ids, damaged values."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from google.protobuf import (  # type: ignore[import-untyped]  # it has no stubs here
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    timestamp_pb2,
)

from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.parsed import UNKNOWN_SCHEMA, Decoded, Messages
from tongqu.kit.messages.reader import Reader, learn
from tongqu.kit.messages.registry import SchemaRegistry, framed
from tongqu.kit.messages.settings import MessageSettings
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

AVRO: dict[str, Any] = {
    "type": "record", "name": "Order", "fields": [
        {"name": "id", "type": "long"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": None},
    ],
}  # fmt: skip


def _proto() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="plant", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    order = file.message_type.add(name="Order")
    kinds = descriptor_pb2.FieldDescriptorProto
    order.field.add(name="id", number=1, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    order.field.add(name="tags", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_REPEATED)
    order.field.add(name="at", number=3, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
                    type_name=".google.protobuf.Timestamp")  # fmt: skip
    return file


def _answer(asked: Asked, out: Out) -> None:
    """A registry of three schemas; the last is registered by the test."""
    written = _REGISTERED.get("schema", "")
    known: dict[str, Any] = {"1": {"schema": json.dumps(AVRO)}, "2": {"schemaType": "PROTOBUF", "schema": "syntax = …"}}
    known |= {"7": {"schema": written}} if written else {}
    found = known.get(asked.path.rpartition("/")[2])
    if asked.method == "POST":
        _REGISTERED["schema"] = asked.json()["schema"]
        out.json({"id": 7})
    elif found is None:
        out.json({"error_code": 40403, "message": "Schema not found"}, 404)
    elif asked.query.get("format") == "serialized":
        out.json({"schema": base64.b64encode(_proto().SerializeToString()).decode()})
    else:
        out.json(found)


_REGISTERED: dict[str, str] = {}
_PATHS = ("/schemas/ids/1", "/schemas/ids/2", "/schemas/ids/7", "/subjects/orders-value/versions")


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    with (
        HttpPeer(dict.fromkeys(_PATHS, _answer)) as peer,
        closing(SchemaRegistry(HttpSettings(base_url=peer.url))) as made,
    ):
        yield made


def avro(document: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), document)
    return out.getvalue()


def read(values: list[bytes | None], registry: SchemaRegistry, **said: Any) -> Decoded:
    settings = MessageSettings.parse(said)
    fields, key = learn(settings, values, [], registry)
    return Reader(settings, fields, key, registry=registry).decode(Messages(values))


def test_avro_values_are_read_and_others_set_aside(registry: SchemaRegistry) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    good = avro({"id": 1, "amount": Decimal("0.10"), "at": at})
    values: list[bytes | None] = [framed(1, good), framed(99, good), framed(1, good[:2]), framed(1, good + b"!"), b"{}"]
    found = read(values, registry, format="avro")
    assert found.rows.to_pylist() == [{"id": 1, "amount": Decimal("0.10"), "at": at}]
    assert [json.loads(bad.original)["number"] for bad in found.bad] == [1, 2, 3, 4]
    assert found.bad[0].code == UNKNOWN_SCHEMA


def test_avro_is_written_under_its_schema(registry: SchemaRegistry) -> None:
    rows = pa.table({"id": [1, None], "v": ["中", None], "q": pa.array([Decimal("1.5"), None], pa.decimal128(5, 1)),
                     "at": pa.array([1, None], pa.timestamp("us", "UTC"))})  # fmt: skip
    made = Encoder(MessageSettings(format="avro"), rows.schema, (), "orders", registry).encode(rows, 0)
    found = read(list(made.values), registry, format="avro")
    assert found.rows.to_pylist() == rows.to_pylist()


def test_protobuf_values_are_read_by_their_index(registry: SchemaRegistry) -> None:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(_proto())
    order = message_factory.GetMessageClass(pool.FindMessageTypeByName("plant.Order"))()
    order.id, order.tags[:] = 5, ["a", "b"]
    order.at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    body = order.SerializeToString()
    values: list[bytes | None] = [framed(2, b"\x00" + body), framed(2, b"\x02\x00" + body), framed(2, b"\x00\x08")]
    found = read(values, registry, format="protobuf")
    same = {"id": 5, "tags": ["a", "b"], "at": datetime(2026, 1, 1, tzinfo=UTC)}
    assert found.rows.to_pylist() == [same, same]
    assert [json.loads(bad.original)["number"] for bad in found.bad] == [2]
