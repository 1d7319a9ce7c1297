"""Documents become columns: every BSON value exact, what does not fit set aside."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
import pyarrow as pa
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.connectors.mongodb.collection import Collection, collections
from tongqu.connectors.mongodb.inferring import Nesting
from tongqu.connectors.mongodb.kinds import native_of
from tongqu.core.data import BadRow

OID = ObjectId("65f000000000000000000001")


def stream(documents: Sequence[dict[str, Any]]) -> bytes:
    """Documents as a server sends them."""
    return b"".join(bson.encode({"_id": number} | one) for number, one in enumerate(documents, 1))


def learnt(
    documents: Sequence[dict[str, Any]], nested: Nesting = "columns", *, strict: bool = True
) -> list[Collection]:
    """What a sample of documents shows."""
    return collections("c", stream(documents), None, nested, strict=strict, rows=0)


def rows(
    documents: Sequence[dict[str, Any]], sample: Sequence[dict[str, Any]] | None = None, *, strict: bool = True
) -> tuple[list[dict[str, Any]], tuple[BadRow, ...]]:
    """The documents as rows without `_id`, and those that are set aside."""
    collection = learnt(documents if sample is None else sample, strict=strict)[0]
    names = collection.schema.names
    found = collection.decode(stream(documents), names)
    listed = found.batch(names, collection.schema).to_pylist()
    return [{name: value for name, value in row.items() if name != "_id"} for row in listed], found.bad


def kinds(*values: Any) -> str:
    """What a field becomes that has these values."""
    return native_of(learnt([{"v": value} for value in values])[0].schema.field("v"))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, Int64(2)], "int"),
        ([1, 1.5], "double"),
        ([1, 1.5, Decimal128("1.10")], "decimal"),
        ([1, "a"], "string"),
        ([OID, "a", None], "string"),
        ([True, "a"], "string"),
        ([True, 1], "json"),
        ([datetime(2024, 1, 1, tzinfo=UTC), 1], "json"),
        ([OID], "objectId"),
        ([UUID(int=5)], "uuid"),
        ([b"x"], "binary"),
        ([b"x", "a"], "json"),
        ([Binary(b"x", 5)], "json"),
        ([None], "json"),
        ([[1], [2]], "json"),
        ([{"a": 1}, 5], "json"),
        ([Timestamp(7, 1)], "timestamp"),
    ],
)
def test_values_of_several_types_share_the_widest(values: list[Any], kind: str) -> None:
    coded = [Binary.from_uuid(value) if isinstance(value, UUID) else value for value in values]
    assert kinds(*coded) == kind


def test_values_come_exact() -> None:
    found, bad = rows([{
        "oid": OID, "dec": Decimal128("12.50"), "bin": b"\x00\xff", "uuid": Binary.from_uuid(UUID(int=255)),
        "at": datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), "ts": Timestamp(2**31 + 5, 9), "text": "中😀\x00",
        "nan": math.inf, "big": Int64(-(2**63)), "yes": True,
    }])  # fmt: skip
    assert bad == ()
    assert found == [{
        "oid": str(OID), "dec": "12.50", "bin": b"\x00\xff", "uuid": str(UUID(int=255)),
        "at": datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), "ts": (2**31 + 5 << 32) + 9, "text": "中😀\x00",
        "nan": math.inf, "big": -(2**63), "yes": True,
    }]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["0", "-0", "0.00", "1E+3", "-1E-6176", "NaN", "Infinity", "9" * 34, "-0.0001", "1e-30"]
)
def test_decimals_keep_every_digit(text: str) -> None:
    (row,), _ = rows([{"v": Decimal128(text)}])
    assert Decimal(row["v"]).as_tuple() == Decimal(str(Decimal128(text))).as_tuple()


def test_numbers_and_texts_in_one_field_are_texts() -> None:
    found, _ = rows([{"v": 5}, {"v": "a"}, {"v": 2.5}, {"v": OID}, {"v": True}, {"v": Decimal128("1.10")}])
    assert [row["v"] for row in found] == ["5", "a", "2.5", str(OID), "true", "1.10"]


def test_inner_documents_are_columns_with_dots_and_arrays_json() -> None:
    found, _ = rows([{"a": {"b": {"c": 1}, "d": [1, {"x": OID}]}}, {"a": None}, {}])
    assert [row["a.b.c"] for row in found] == [1, None, None]
    assert json.loads(found[0]["a.d"]) == [1, {"x": {"$oid": str(OID)}}]


def test_other_types_are_mongodbs_json() -> None:
    found, _ = rows([{"v": Regex("a", "i")}, {"v": MinKey()}, {"v": MaxKey()}, {"v": Code("f()")}, {"v": 1}])
    assert [json.loads(row["v"]) for row in found] == [
        {"$regularExpression": {"pattern": "a", "options": "i"}}, {"$minKey": 1}, {"$maxKey": 1}, {"$code": "f()"}, 1,
    ]  # fmt: skip


def test_what_the_sample_did_not_show_is_set_aside_and_the_rest_goes_on() -> None:
    found, bad = rows([{"v": 1}, {"v": "x"}, {"v": 2, "w": 3}, {"v": 2.0}, {"v": 2**60}], [{"v": 7}])
    assert [row["v"] for row in found] == [1, 2, 2**60]
    assert [(one.code, one.field) for one in bad] == [("cast.invalid", "v"), ("schema.column", "w")]
    assert json.loads(bad[1].original) == {"_id": 3, "v": 2, "w": 3}


def test_unknown_fields_can_be_left_out() -> None:
    assert rows([{"v": 1, "w": 3}], [{"v": 7}], strict=False) == ([{"v": 1}], ())


def test_a_whole_number_beyond_a_doubles_digits_is_set_aside() -> None:
    found, bad = rows([{"v": Int64(2**53 + 1)}, {"v": Int64(2**53)}], [{"v": 0.5}])
    assert [row["v"] for row in found] == [2.0**53]
    assert [one.field for one in bad] == ["v"]


def test_arrays_of_documents_can_be_datasets_of_their_own() -> None:
    items_of: list[Any] = [[{"sku": "a", "n": 1}, {"sku": "b"}], [], None, [{"sku": "c", "n": 2}]]
    orders = [{"items": one} for one in items_of]
    whole, items = learnt(orders, "children")
    assert whole.schema.names == ["_id"]
    assert (items.name, items.key) == ("c.items", ("parent__id", "_index"))
    names = items.schema.names
    found = items.decode(stream(orders), names).batch(names, items.schema).to_pylist()
    assert [tuple(row.values()) for row in found] == [(1, 1, "a", 1), (1, 2, "b", None), (4, 1, "c", 2)]


def test_fields_in_any_order_are_found() -> None:
    found, bad = rows([{"a": 1, "b": 2, "c": 3}, {"c": 3, "a": 1}, {"b": 2}, {"c": 3, "b": 2, "a": 1}])
    assert bad == ()
    assert found == [
        {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": None, "c": 3}, {"a": None, "b": 2, "c": None}, {"a": 1, "b": 2, "c": 3},
    ]  # fmt: skip


def test_bytes_that_are_no_document_are_told() -> None:
    documents: list[dict[str, Any]] = [{"v": "abc"}]
    collection, whole = learnt(documents)[0], stream(documents)
    for data in (whole[:-3], b"\x02\x00\x00\x00", whole.replace(b"\x04\x00\x00\x00abc", b"\xff\xff\xff\x7fabc")):
        with pytest.raises(ValueError, match=r"bytes|longer"):
            collection.decode(data, ["_id", "v"])


# integers that a double holds too: of others, in a field of both, the row is quarantined
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=8),
    st.binary(max_size=8), st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip
_NAMES = st.sampled_from(["a", "b", "longer_name_0", "longer_name_1", "中文", "e"])
_DOCUMENTS = st.lists(
    st.dictionaries(_NAMES, _VALUES | st.dictionaries(_NAMES, _VALUES, max_size=3), max_size=5), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(_DOCUMENTS)
def test_any_documents_come_as_the_driver_reads_them(documents: list[dict[str, Any]]) -> None:
    collection = collections("c", stream(documents), None, "json", strict=True, rows=0)[0]
    names = collection.schema.names
    found = collection.decode(stream(documents), names)
    assert not found.bad
    listed = found.batch(names, collection.schema).to_pylist()
    for row, document in zip(listed, documents, strict=True):
        for name in names[1:]:
            _same(row[name], document.get(name), collection.schema.field(name))


def _same(value: Any, wanted: Any, field: pa.Field[Any]) -> None:
    if wanted is None or value is None:
        assert value is None
        assert wanted is None
        return
    kind = native_of(field)
    if kind == "json":
        from bson import json_util

        options = json_util.RELAXED_JSON_OPTIONS
        again = bson.decode(bson.encode({"v": wanted}))["v"]
        assert json_util.loads(value, json_options=options) == json_util.loads(
            json_util.dumps(again, json_options=options), json_options=options
        )
    elif kind == "string" and not isinstance(wanted, str):
        assert isinstance(value, str)
    else:
        assert value == wanted
