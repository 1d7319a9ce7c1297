"""Protobuf messages under a schema registry, read by the descriptors that the registry gives."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from tongqu.kit.drivers import driver
from tongqu.kit.messages.registry import RegisteredSchema

_WELL_KNOWN = ("any", "duration", "empty", "struct", "timestamp", "wrappers")


def protobuf_reader(schema: RegisteredSchema, message: str = "") -> Callable[[bytes], dict[str, Any]]:
    """Reads values of a Protobuf schema: `message` (full name), or the one that the index before the value names.

    Raises ValueError for a schema of another kind or a damaged one.
    """
    pool_of = driver("google.protobuf.descriptor_pool", "protobuf")
    descriptors = driver("google.protobuf.descriptor_pb2", "protobuf")
    factory = driver("google.protobuf.message_factory", "protobuf")
    decode_error = driver("google.protobuf.message", "protobuf").DecodeError
    if schema.kind != "PROTOBUF":
        raise ValueError(f"it is of kind {schema.kind}")
    pool = pool_of.DescriptorPool()
    for name in _WELL_KNOWN:
        known = driver(f"google.protobuf.{name}_pb2", "protobuf")
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    try:
        for name, text in reversed(list(schema.references.items())):
            if not name.startswith("google/protobuf/"):
                pool.Add(_file(descriptors, text, name))
        own = _file(descriptors, schema.text, f"tongqu_{schema.id}.proto")
        pool.Add(own)
        file = pool.FindFileByName(own.name)
    except (TypeError, KeyError, binascii.Error, decode_error) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    names = [one.name for one in own.message_type]

    def read(value: bytes) -> dict[str, Any]:
        path, start = _path(value)
        found = file.message_types_by_name[names[path[0]]]
        for index in path[1:]:
            found = found.nested_types[index]
        if message:
            found = pool.FindMessageTypeByName(message)
        made = factory.GetMessageClass(found)()
        made.ParseFromString(value[start:])
        return _row(made)

    return read


def _file(descriptors: Any, text: str, name: str) -> Any:
    made = descriptors.FileDescriptorProto()
    made.ParseFromString(base64.b64decode(text, validate=True))
    made.name = name
    return made


def _path(value: bytes) -> tuple[list[int], int]:
    """The indexes of the message, and where it begins; a single zero stands for the first message."""
    count, at = _varint(value, 0)
    path = []
    for _ in range(count):
        index, at = _varint(value, at)
        path.append(index)
    return path or [0], at


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint, and where it ends."""
    found = shift = 0
    while True:
        byte = value[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), at


def _row(message: Any) -> dict[str, Any]:
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return [(key, _single(one, inner)) for key, one in value.items()]
    if field.is_repeated:
        return [_single(one, field) for one in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else str(value)
    if field.message_type is None:
        return value
    name = field.message_type.full_name
    if name == "google.protobuf.Timestamp":
        from datetime import UTC

        return value.ToDatetime(tzinfo=UTC)
    if name.startswith("google.protobuf.") and name.endswith("Value") and "value" in field.message_type.fields_by_name:
        return value.value
    return _row(value)
