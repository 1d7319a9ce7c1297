"""Mending rules: what a person writes and what it means."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tongqu.core.errors import ExpressionError, InvalidSettingsError
from tongqu.meaning.mending import expression, mended, parse

KINDS: dict[str, pa.DataType] = {"name": pa.string(), "qty": pa.int64(), "a": pa.string()}
SCHEMA = pa.schema(KINDS)


@pytest.mark.parametrize(
    ("text", "row", "value"),
    [
        ("truncate name=3", {"name": "通衢四方"}, "通衢四"),
        ("truncate name=3", {"name": None}, None),
        ("set name=new", {"name": "old"}, "new"),
        ("set name='it''s'", {"name": "old"}, "it's"),
        ("set name=", {"name": "old"}, ""),
        ("set name=null", {"name": "old"}, None),
        ("set name=138-0000", {"name": "old"}, "138-0000"),
        ("map name a=1,b=2", {"name": "b"}, "2"),
        ("map name a=1,b=2", {"name": "c"}, "c"),
        ("map name codes.csv", {"name": "L2"}, "LINE-2"),
        ('map name "x,y=z"', {"name": "x,y"}, "z"),
    ],
)
def test_a_rule_gives_a_value(text: str, row: dict[str, object], value: object) -> None:
    made = parse(text, lambda name: "L1,LINE-1\nL2,LINE-2\n")
    assert mended(made, row) == value


@pytest.mark.parametrize("text", ["set qty=abs(qty)", "set name=upper(trim(name))", 'set name="a"', "set qty=qty * 2"])
def test_what_reads_a_column_or_calls_a_function_is_an_expression(text: str) -> None:
    assert expression(parse(text, str), SCHEMA) is not None


@pytest.mark.parametrize(
    "text", ["set name=a", "set name=138-0000", "set qty=5", "set name='abs(qty)'", "set name=x y z"]
)
def test_anything_else_is_a_value(text: str) -> None:
    assert expression(parse(text, str), SCHEMA) is None


@pytest.mark.parametrize("text", ["set name=uper(name)", "set qty=qty + name || 1", "set qty=qty / missing"])
def test_a_wrong_expression_is_no_text(text: str) -> None:
    with pytest.raises(ExpressionError):
        expression(parse(text, str), SCHEMA)


@pytest.mark.parametrize(
    "text",
    ["cut name=3", "truncate name", "truncate name=x", "truncate =3", "set name", "map name", "map name a=1,a=2",
     "map name a=1,b", "discard all"],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        parse(text, str)
    assert caught.value.path == "--rule"


def test_only_texts_can_be_cut() -> None:
    with pytest.raises(InvalidSettingsError, match="truncate cuts texts"):
        mended(parse("truncate qty=1", str), {"qty": 12})
