"""A column of texts gets the narrowest type that keeps every value, and values that do not fit are found."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.formats.inference import Column, widest
from tongqu.kit.formats.types import convert, named


def inferred(*blocks: list[str | None]) -> str:
    column = Column()
    for block in blocks:
        column.show(pa.array(block, pa.string()))
    return str(column.type())


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-2", None], "int64"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "decimal128(19, 0)"),
        (["007"], "string"),
        (["+5"], "string"),
        (["1.50", "-22.25"], "decimal128(4, 2)"),
        (["1.5", "2.25"], "double"),
        (["1", "2.25"], "double"),
        (["1", "2.1234567890123456789"], "decimal128(20, 19)"),
        (["0.1", "61.459145708436125"], "double"),
        (["1e5", "nan", "-inf"], "double"),
        (["1e400"], "string"),
        (["0." + "1" * 60], "string"),
        (["true", "FALSE"], "bool"),
        (["2024-02-29"], "date32[day]"),
        (["2024-02-30"], "string"),
        (["10:00:00", "23:59:59.5"], "time64[us]"),
        (["10:30"], "string"),
        (["2024-01-01", "2024-01-01T10:00"], "timestamp[us]"),
        (["2024-01-01 10:00:00.123456789"], "timestamp[ns]"),
        (["2024-01-01T10:00:00Z", "2024-01-01 10:00:00+08:00"], "timestamp[us, tz=UTC]"),
        (["2024-01-01T10:00:00Z", "2024-01-01 10:00:00"], "string"),
        (["", "1"], "string"),
        ([None], "string"),
    ],
)
def test_inference(texts: list[str | None], kind: str) -> None:
    assert inferred(texts) == kind
    assert inferred(*[[text] for text in texts]) == kind


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20), min_size=1
    )
)
def test_decimals_of_one_scale_stay_exact(values: list[Decimal]) -> None:
    texts = pa.array([f"{v:f}" for v in values])
    column = Column()
    column.show(texts)
    found, refused = convert(texts, column.type())
    assert refused is None
    assert [Decimal(v) for v in found.to_pylist()] == values


@pytest.mark.parametrize(
    ("kind", "good", "wrong"),
    [
        ("int64", ["1", " 2 "], ["x", "1.5", "9999999999999999999"]),
        ("decimal(5,2)", ["1.5", "100"], ["1.555", "12345.00", "?"]),
        ("date", ["2024-02-29"], ["2024-02-30", "yesterday"]),
        ("timestamp", ["2024-02-29T10:00:00", "2024-02-29"], ["2024-02-29T25:00:00", "now"]),
        ("time", ["10:00:00"], ["25:00:00", "ten"]),
        ("bool", ["true", "FALSE"], ["1", "yes"]),
        ("binary", ["AP8="], ["***"]),
    ],
)
def test_values_that_do_not_fit_are_found(kind: str, good: list[str], wrong: list[str]) -> None:
    texts = [None, *good, *wrong, *good]
    values, refused = convert(pa.array(texts, pa.string()), named("c", kind).type)
    assert refused is not None
    assert refused.fill_null(False).to_pylist() == [text in wrong for text in texts]
    assert [v is None for v in values.to_pylist()] == [text is None or text in wrong for text in texts]


def test_types_of_several_files() -> None:
    assert str(widest([pa.int64(), pa.decimal128(5, 2)])) == "decimal128(21, 2)"
    assert str(widest([pa.date32(), pa.timestamp("us")])) == "timestamp[us]"
    assert str(widest([pa.int64(), pa.bool_()])) == "string"


def test_an_unknown_type_name_lists_the_valid_ones() -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        named("c", "number")
    assert "int64" in caught.value.hint
