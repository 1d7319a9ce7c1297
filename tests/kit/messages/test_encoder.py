"""What is written can be read again: rows and deletes in every envelope."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import InvalidPlanError
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.parsed import Messages
from tongqu.kit.messages.reader import Reader, learn
from tongqu.kit.messages.settings import MessageSettings

ROWS = pa.table({"id": [1, 2], "v": ["中\n\"", None], "q": pa.array([Decimal("0.10"), None], pa.decimal128(9, 2)),
                 "b": [b"\x00\xff", None]})  # fmt: skip
FIELDS = {"id": "int64", "v": "string", "q": "decimal(9,2)", "b": "binary"}


@pytest.mark.parametrize("envelope", ["plain", "upsert", "debezium", "canal"])
def test_rows_come_back(envelope: Any) -> None:
    settings = MessageSettings(envelope=envelope, key=("id",), fields=FIELDS)
    encoder = Encoder(settings, ROWS.schema, ("id",), "orders")
    made = encoder.encode(ROWS, 1_700_000_000_000)
    assert [json.loads(key or b"") for key in made.keys] == [{"id": 1}, {"id": 2}]
    fields, key = learn(settings, made.values, made.keys)
    found = Reader(settings, fields, key).decode(Messages(made.values, made.keys))
    assert not found.bad
    assert pa.Table.from_batches([found.rows]).select(ROWS.column_names).to_pylist() == ROWS.to_pylist()


@pytest.mark.parametrize("envelope", ["upsert", "debezium", "canal"])
def test_deletes_come_back(envelope: Any) -> None:
    settings = MessageSettings(envelope=envelope, key=("id",), fields=FIELDS)
    made = Encoder(settings, ROWS.schema, ("id",), "orders").gone(ROWS, 1_700_000_000_000)
    fields, key = learn(settings, made.values, made.keys)
    found = Reader(settings, fields, key).decode(Messages(made.values, made.keys))
    assert [(row["_op"], row["id"]) for row in found.rows.to_pylist()] == [("d", 1), ("d", 2)]
    assert not found.bad


def test_what_cannot_be_written_is_told() -> None:
    with pytest.raises(InvalidPlanError, match="protobuf"):
        Encoder(MessageSettings(format="protobuf"), ROWS.schema, (), "orders")
    with pytest.raises(InvalidPlanError, match="one column"):
        Encoder(MessageSettings(format="text"), ROWS.schema, (), "orders")
    with pytest.raises(InvalidPlanError, match="needs a key"):
        Encoder(MessageSettings(envelope="canal"), ROWS.schema, (), "orders")
