"""Masks: SQL and plain Python agree, and what is hidden stays hidden."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset, Meta
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.meaning.masks import Mask, masked_value
from tongqu.testing.single_step import Row, run, step

FIELDS: list[pa.Field[Any]] = [
    pa.field("t", pa.string(), metadata={"tongqu.class": "personal", "tongqu.title": "姓名"}),
    pa.field("n", pa.int64()),
    pa.field("d", pa.decimal128(12, 2)),
    pa.field("x", pa.float64()),
    pa.field("day", pa.date32()),
    pa.field("at", pa.timestamp("us")),
]
SCHEMA = pa.schema(FIELDS)  # fmt: skip
TEXTS = st.sampled_from(["欧阳修", "欧阳小明", "张三", "张小三", "司马", "John Smith", "阿凡提·买买提", "13812345678",
                         "11010119900307123X", "6222020200112233445", "zhang@example.com", "a@b", "@", ""]) | st.text(
    alphabet="张欧阳aB1@ 　\t.😀", max_size=14
)  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({
        "t": st.none() | TEXTS,
        "n": st.none() | st.integers(-(10**12), 10**12),
        "d": st.none() | st.decimals(Decimal("-99999"), Decimal("99999"), places=2),
        "x": st.none() | st.floats(-1e9, 1e9),
        "day": st.none() | st.dates(dt.date(1600, 1, 1), dt.date(2200, 1, 1)),
        "at": st.none() | st.dates(dt.date(1600, 1, 1)).map(lambda day: dt.datetime.combine(day, dt.time(13, 5, 7))),
    }), max_size=12,
)  # fmt: skip
KEY = "correct horse"


@pytest.mark.oracle("mask")
@pytest.mark.parametrize(
    "masks",
    [{"t": kind} for kind in ("null", "name", "phone", "id_card", "bank_card", "email")]
    + [
        {"t": {"with": "keep", "first": 2}},
        {"t": {"with": "keep", "last": 3}, "n": "phone"},
        {"t": {"with": "constant", "value": "***"}, "n": {"with": "constant", "value": 0}},
        {"n": {"with": "bucket", "to": 1000}, "d": {"with": "bucket", "to": 100}, "x": {"with": "bucket", "to": 0.5}},
        {"n": {"with": "round", "to": 1000}, "d": {"with": "round", "to": 100}, "x": {"with": "round", "to": 10}},
        {"day": "month", "at": "year", "x": None},
        {"day": "year", "at": "month", "d": "null"},
    ],
    ids=str,
)
def test_masks(masks: Row) -> None:
    @settings(max_examples=12, deadline=None)
    @given(ROWS)
    def same(rows: list[Row]) -> None:
        found = run({"mask": masks}, rows, SCHEMA)
        made = {n: Mask.model_validate(m if isinstance(m, dict) else {"with": m}) for n, m in masks.items()}
        assert found.rows == [
            {name: masked_value(made[name], value) if name in made else value for name, value in row.items()}
            for row in ({name: row[name] for name in SCHEMA.names} for row in rows)
        ]

    same()


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("name", "张三", "张*"), ("name", "张小三", "张*三"), ("name", "欧阳小明", "欧阳**"), ("name", "王", "*"),
        ("name", "John Smith", "J*** S***"), ("name", "阿凡提·买买提", "阿***"),
        ("phone", "13812345678", "138****5678"), ("phone", "12345", "*****"),
        ("id_card", "11010119900307123X", "110101********123X"),
        ("bank_card", "6222020200112233445", "622202*********3445"),
        ("email", "zhang@example.com", "z***@example.com"), ("email", "a@b", "***@b"), ("email", "nobody", "******"),
    ],
)  # fmt: skip
def test_what_people_see(kind: str, value: str, shown: str) -> None:
    assert run({"mask": {"t": kind}}, [{"t": value}], SCHEMA).column("t") == [shown]


@pytest.mark.parametrize("algorithm", ["sha256", "sm3"])
def test_hash_beside_other_masks(algorithm: str) -> None:
    masks = {"t": {"with": "hash", "key": "${secret:m}", "algorithm": algorithm}, "n": "phone", "day": "month"}
    made = step({"mask": masks}, secret=lambda _: KEY)
    rows: list[Row] = [{"t": "张三", "n": 13812345678, "day": dt.date(2024, 5, 6)}, {"t": None}, {"t": "张三"}]
    found = run(made, rows, SCHEMA)
    first, none, again = found.column("t")
    assert (none, again) == (None, first)
    if algorithm == "sha256":
        assert first == hmac.new(KEY.encode(), "张三".encode(), hashlib.sha256).hexdigest()
    else:
        assert len(first) == 64
    assert found.rows[0]["n"] == "138****5678" and found.rows[0]["day"] == dt.date(2024, 5, 1)
    assert KEY not in repr(made) and KEY not in made.operator.model_dump_json()


def test_sm3_known_answer() -> None:
    # RFC 2104's construction over SM3; the inner digest of "abc" is GB/T 32905's first example
    from cryptography.hazmat.primitives import hashes

    from tongqu.meaning.digests import digested

    plain = hashes.Hash(hashes.SM3())
    plain.update(b"abc")
    assert plain.finalize().hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    inner, outer = hashes.Hash(hashes.SM3()), hashes.Hash(hashes.SM3())
    inner.update(bytes(b ^ 0x36 for b in b"key".ljust(64, b"\0")) + b"abc")
    outer.update(bytes(b ^ 0x5C for b in b"key".ljust(64, b"\0")) + inner.finalize())
    assert digested(pa.array(["abc"]), b"key", "sm3").to_pylist() == [outer.finalize().hex()]


def test_masks_of_the_dictionary_and_the_class() -> None:
    dictionary = {"staff": {"fields": {"t": {"mask": "name", "class": "personal"}, "n": {"type": "int64"}}}}
    made = step({"mask": "staff"}, dictionary=dictionary)
    assert run(made, [{"t": "张三", "n": 5}], SCHEMA).column("t") == ["张*"]
    kept = made.operator.output([Dataset("t", SCHEMA, key=("t",))])
    assert kept.schema.field("t").metadata == {b"tongqu.class": b"personal", b"tongqu.title": "姓名".encode()}
    assert kept.key == ()
    lowered = step({"mask": {"t": {"with": "name", "class": "internal"}}}).operator.output([Dataset("t", SCHEMA)])
    assert (lowered.schema.field("t").metadata or {})[Meta.CLASS.encode()] == b"internal"


def test_a_mask_can_be_pushed_down_only_where_it_is_exact() -> None:
    chain = Chain(Dataset("t", SCHEMA), [step({"mask": {"n": {"with": "constant", "value": 0}}})])
    assert chain.pushdown("postgres")[0] is not None
    chain = Chain(Dataset("t", SCHEMA), [step({"mask": {"t": "name"}})])
    assert chain.pushdown("postgres")[0] is None


@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        ({"t": "secretly"}, InvalidSettingsError, "with"),
        ({"t": "constant"}, InvalidSettingsError, "needs `value`"),
        ({"t": {"with": "hash", "key": "hunter2"}}, InvalidSettingsError, "by reference"),
        ({"n": {"with": "constant", "value": "none"}}, InvalidPlanError, "'none' is no BIGINT"),
        ({"t": "month"}, InvalidPlanError, "masks dates"),
        ({"x": "phone"}, InvalidPlanError, "masks text"),
        ({"t": {"with": "round", "to": 5}}, InvalidPlanError, "masks numbers"),
        ({"x": {"with": "hash", "key": "${secret:m}"}}, InvalidPlanError, "masks text and integers"),
        ({"z": "name"}, UnknownNameError, "no column 'z'"),
        ("nothing", UnknownNameError, "no dataset 'nothing'"),
    ],
)
def test_refused_when_planning(masks: Any, error: type[ConfigError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        parse_step({"mask": masks}, "steps[0]").operator.output([Dataset("t", SCHEMA)])
    assert "hunter2" not in str(caught.value.problem())
