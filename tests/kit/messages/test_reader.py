"""Messages of all kinds become rows and changes; what cannot be read is set aside and stops nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.messages.parsed import Decoded, Messages
from tongqu.kit.messages.reader import Reader, learn
from tongqu.kit.messages.settings import MessageSettings

AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
MILLIS = 1_700_000_000_000


def decoded(
    values: Sequence[bytes | None], keys: Sequence[bytes | None] = (), *, sample: Sequence[bytes] = (), **said: Any
) -> Decoded:
    settings = MessageSettings.parse(said)
    fields, key = learn(settings, sample or values, keys)
    return Reader(settings, fields, key).decode(Messages(values, keys))


def debezium(op: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A change as Debezium's connectors write it, without schema."""
    source = {"version": "3.4.0", "connector": "postgresql", "name": "plant", "ts_ms": MILLIS, "snapshot": "false",
              "db": "erp", "schema": "public", "table": "orders", "txId": 571, "lsn": 24023128}  # fmt: skip
    return {
        "before": before,
        "after": after,
        "source": source,
        "op": op,
        "ts_ms": MILLIS + 3,
        "transaction": None,
    } | more


def canal(kind: str, data: Any, old: Any = None, **more: Any) -> bytes:
    """A statement as canal's flat messages write it."""
    told = {"data": data, "database": "erp", "es": MILLIS, "id": 9, "isDdl": False, "mysqlType": {"id": "int"},
            "old": old, "pkNames": ["id"], "sql": "", "sqlType": {"id": 4}, "table": "orders", "ts": MILLIS + 3,
            "type": kind}  # fmt: skip
    return json.dumps(told | more).encode()


def packed(*documents: Mapping[str, Any]) -> list[bytes]:
    return [json.dumps(one).encode() for one in documents]


def test_json_objects_become_rows_of_learnt_types() -> None:
    found = decoded([b'{"id": 1, "v": "a", "at": "2026-01-01T00:00:00Z"}', b'{"id": 2,\n "v": "b"}'])
    assert found.rows.to_pylist() == [
        {"id": 1, "v": "a", "at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"id": 2, "v": "b", "at": None},
    ]
    assert found.places.tolist() == [0, 1]


@pytest.mark.parametrize(
    "poison",
    [b"nope", b"\xff\xfe", b"", b"  ", b"null", b"[1]", b'{"id": 1} {"id": 2}', b'{"id": "x"}', b'{"id": 1, "w": 1}',
     b'{"id": 1', b'{"id": 1, "v": "\xc3"}', b'{"v":' + b"[" * 5000 + b"]" * 5000 + b"}"],
)  # fmt: skip
def test_a_poison_message_is_set_aside_and_stops_no_other(poison: bytes) -> None:
    good = [b'{"id": 1, "v": "a"}', b'{"id": 2, "v": "b"}']
    found = decoded([good[0], poison, good[1]], sample=good)
    assert found.rows.column("id").to_pylist() == [1, 2]
    assert found.places.tolist() == [0, 2]
    (bad,) = found.bad
    assert (bad.step, json.loads(bad.original)["number"]) == ("read", 1)


def test_declared_fields_are_read_exactly_and_others_left_out() -> None:
    fields = {"id": "int64", "amount": "decimal(12,2)", "day": "date", "at": "timestamptz", "code": "string"}
    value = b'{"id": 1, "amount": 0.10, "day": 20000, "at": 1700000000000, "code": 7, "more": {"x": [1, "a"]}}'
    found = decoded([value], fields=fields)
    assert found.rows.to_pylist() == [
        {"id": 1, "amount": Decimal("0.10"), "day": date(2024, 10, 4), "at": AT, "code": "7"}
    ]


def test_a_value_that_is_none_of_its_type_names_its_field() -> None:
    found = decoded(
        [b'{"id": 1, "at": "soon"}', b'{"id": 2, "at": "2026-01-01"}'], fields={"id": "int64", "at": "datetime"}
    )
    (bad,) = found.bad
    assert (bad.field, bad.value) == ("at", "soon")
    assert found.rows.column("id").to_pylist() == [2]


def test_debezium_changes_become_change_rows() -> None:
    values: list[bytes | None] = [
        *packed(
            debezium("r", None, {"id": 0, "v": "s"}), debezium("c", None, {"id": 1, "v": "x"}),
            debezium("u", {"id": 1, "v": "x"}, {"id": 1, "v": "__debezium_unavailable_value"}),
            debezium("d", {"id": 1, "v": None}, None),
        ),
        None,
    ]  # fmt: skip
    found = decoded(values, [b'{"id": 1}'] * 5, envelope="debezium")
    assert [(row["_op"], row["id"], row["v"], row["_unchanged"]) for row in found.rows.to_pylist()] == [
        ("r", 0, "s", None), ("c", 1, "x", None), ("u", 1, None, ["v"]), ("d", 1, None, None),
    ]  # fmt: skip
    assert set(found.rows.column("_at").to_pylist()) == {AT}
    assert not found.bad


def test_debezium_with_schemas_and_truncate() -> None:
    wrap = [{"schema": {"type": "struct", "fields": [{"field": "x"}, {"field": 1}]}, "payload": one} for one in (
        debezium("c", None, {"id": 1}), debezium("t", None, None), debezium("c", None, {"id": 2}),
    )]  # fmt: skip
    found = decoded(packed(*wrap), envelope="debezium", key="id")
    assert found.rows.column("id").to_pylist() == [1, 2]
    assert found.truncates == (1,)


def test_debezium_messages_that_tell_no_change_are_bad() -> None:
    poison = packed(
        debezium("u", None, None), debezium("z", None, {"id": 1}), debezium("c", None, {"id": None}), {"id": 1}
    )
    poison += packed(debezium("c", None, {"id": 1, "new_column": 5}))
    found = decoded([*packed(debezium("c", None, {"id": 7})), *poison], sample=packed(debezium("c", None, {"id": 7})),
                    envelope="debezium", key="id")  # fmt: skip
    assert found.rows.column("id").to_pylist() == [7]
    assert [json.loads(bad.original)["number"] for bad in found.bad] == [1, 2, 3, 4, 5]
    assert [bad.field for bad in found.bad] == ["after", "op", "id", "op", "new_column"]


def test_canal_statements_become_change_rows_in_order() -> None:
    fields = {"id": "int64", "q": "decimal(10,2)", "at": "datetime"}
    found = decoded(
        [
            canal("INSERT", [{"id": "1", "q": "1.5", "at": "2026-01-02 03:04:05"}, {"id": "2", "q": None, "at": None}]),
            canal("UPDATE", [{"id": "7", "q": "3"}, {"id": "2", "q": "4"}], [{"id": "1"}, {"q": None}]),
            canal("ALTER", None, isDdl=True, sql="ALTER TABLE orders ADD x int"),
            canal("DELETE", [{"id": "7", "q": "3"}]),
        ],
        fields=fields, envelope="canal",
    )  # fmt: skip
    rows = [(row["_op"], row["id"], row["q"]) for row in found.rows.to_pylist()]
    assert rows == [
        ("c", 1, Decimal("1.50")), ("c", 2, None), ("d", 1, None), ("c", 7, Decimal("3.00")),
        ("u", 2, Decimal("4.00")), ("d", 7, Decimal("3.00")),
    ]  # fmt: skip
    assert found.rows.column("at")[0].as_py() == datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # MySQL's have no zone
    assert found.places.tolist() == [0, 0, 1, 1, 1, 3]


def test_canal_truncates_and_other_tables() -> None:
    values = [canal("INSERT", [{"id": "1"}]), canal("INSERT", [{"id": "2"}], table="other"),
              canal("TRUNCATE", None, isDdl=True), canal("INSERT", [{"id": "3"}]), canal("INSERT", None)]  # fmt: skip
    found = decoded(values, envelope="canal", table="erp.orders", key="id")
    assert found.rows.column("id").to_pylist() == ["1", "3"]
    assert found.truncates == (1,)
    assert [json.loads(bad.original)["number"] for bad in found.bad] == [4]


def test_a_compacted_topic_tells_states_and_deletes() -> None:
    values = [b'{"id": 1, "v": "a"}', None, b'{"id": 2, "v": "b"}', None, None]
    keys = [b'{"id": 1}', b"1", b"2", b"x", None]
    found = decoded(values, keys, envelope="upsert", key="id")
    assert [(row["_op"], row["id"], row["v"]) for row in found.rows.to_pylist()] == [
        ("u", 1, "a"), ("d", 1, None), ("u", 2, "b"),
    ]  # fmt: skip
    assert [json.loads(bad.original)["number"] for bad in found.bad] == [3, 4]


def test_text_and_bytes_are_one_column() -> None:
    assert decoded([b"a", b"\xff", b""], format="text").rows.to_pylist() == [{"value": "a"}, {"value": ""}]
    assert decoded([b"a", b"\xff"], format="bytes").rows.to_pylist() == [{"value": b"a"}, {"value": b"\xff"}]


def test_changes_need_a_key() -> None:
    with pytest.raises(InvalidSettingsError, match="need a key"):
        decoded(packed(debezium("c", None, {"id": 1})), envelope="debezium")


def test_no_message_is_no_row() -> None:
    settings = MessageSettings(envelope="canal", key=("id",), fields={"id": "int64"})
    fields, key = learn(settings, [], [])
    assert Reader(settings, fields, key).decode(Messages([])).rows.num_rows == 0
    assert pa.schema(fields).names == ["id"]


def test_messages_that_no_reader_takes_are_set_aside_and_do_not_spoil_what_is_learnt() -> None:
    """Half a surrogate pair, numbers without end, nesting without end: in the sample, in values and in keys."""
    poison = [b'{"id": 2, "v": "\\ud800"}', b'{"id": 1e999, "v": NaN}', b"[" * 100_000, b'{"\\udfff": 1}']
    whole = [b'{"id": 1, "v": "a"}', b'{"id": 3, "v": "\\ud83d\\ude00"}']
    found = decoded([whole[0], *poison, whole[1]], sample=[*whole, *poison])
    assert [row for row in found.rows.to_pylist() if row["id"] in (1, 3)] == [
        {"id": 1, "v": "a"}, {"id": 3, "v": "\U0001f600"},
    ]  # fmt: skip
    assert found.rows.num_rows + len(found.bad) == 6
    assert len(found.bad) == 4
    gone = decoded([None] * 3, [b'{"id": "\\ud800"}', b"[" * 100_000, b'{"id": 1}'], sample=whole, envelope="upsert",
                   key=["id"])  # fmt: skip
    assert [(row["_op"], row["id"]) for row in gone.rows.to_pylist()] == [("d", 1)]
    assert len(gone.bad) == 2
