"""What an expression may say, what type it gives, and how it is refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import ExpressionError
from tongqu.meaning.expressions import predicate, typed

FIELDS: list[pa.Field[Any]] = [
    pa.field("lot_no", pa.string()),
    pa.field("weight", pa.decimal128(12, 3)),
    pa.field("qty", pa.int32()),
    pa.field("made_at", pa.timestamp("us", tz="UTC")),
]
SCHEMA = pa.schema(FIELDS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("qty + 1", pa.int32()),
        ("qty / 2", pa.float64()),
        ("weight * 2.5", pa.decimal128(14, 4)),
        ("lot_no || '-' || qty::varchar", pa.string()),
        ("weight is not null and qty > 3", pa.bool_()),
        ("made_at + interval 1 day", pa.timestamp("us", tz="UTC")),
        ("WEIGHT", pa.decimal128(12, 3)),
        ("date_trunc('day', made_at at time zone 'Asia/Shanghai')", pa.timestamp("us")),
    ],
)
def test_type_is_known_before_anything_runs(text: str, kind: pa.DataType) -> None:
    assert typed(text, SCHEMA).type == kind


def test_json_is_a_string_that_says_so() -> None:
    made = typed("lot_no::json", SCHEMA)
    assert (made.type, made.logical) == (pa.string(), "json")


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("wieght > 5", 1, "'wieght' is not a column"),
        ("weight > 5 and qtty = 1", 16, "'qtty' is not a column"),
        ("weight * 2 +", 12, "cannot parse"),
        ("weight + foo(qty)", 10, "'foo' is not allowed"),
        ("qty > 1 and lot_no + 1 = 2", 13, "No function matches"),
        ("qty::struct(a int)", 1, "is not allowed"),
        ("lot_no ~ 'x'", 8, "operator ~"),
        ("qty > 'many'", 1, "'many'"),
    ],
)
def test_refusal_shows_the_place(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as error:
        typed(text, SCHEMA, path="steps[2].filter")
    assert words in error.value.message
    assert error.value.params["column"] == column
    assert error.value.path == "steps[2].filter"
    line, caret = error.value.message.splitlines()[-2:]
    assert line.strip() == text and caret.endswith("^") and len(caret) == 2 + column


def test_nearest_name_is_offered() -> None:
    with pytest.raises(ExpressionError) as error:
        typed("wieght > 5", SCHEMA)
    assert "did you mean 'weight'?" in error.value.hint


def test_place_is_right_on_a_later_line_after_chinese() -> None:
    with pytest.raises(ExpressionError) as error:
        typed("lot_no = '批号'\n  and nope = 1", SCHEMA)
    assert (error.value.params["line"], error.value.params["column"]) == (2, 7)


@pytest.mark.parametrize(
    "text",
    [
        "(select 1)",
        "qty in (select 1)",
        "exists (select 1)",
        "read_text('/etc/passwd')",
        "(select content from read_text('/etc/passwd'))",
        "getenv('HOME')",
        "current_setting('threads')",
        "query('select 1')",
        "now()",
        "current_timestamp",
        "random()",
        "uuid()",
        "nextval('s')",
        "error('x')",
        "count(*)",
        "sum(qty) over ()",
        "*",
        "columns(*)",
        "unnest([1])",
        "qty; drop table t",
        "qty from t",
        "qty as x",
        "qty, lot_no",
        "t.qty",
        "actor.plant",
        "{'a': 1}",
        "list_transform([1], x -> x)",
        "$1",
        "?",
        "",
        "-- nothing",
        "(" * 3000 + "1" + ")" * 3000,
        "x" * 30_000,
    ],
)
def test_whatever_is_not_a_pure_scalar_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        typed(text, SCHEMA)


def test_condition_must_be_boolean() -> None:
    with pytest.raises(ExpressionError, match="gives INTEGER, not BOOLEAN"):
        predicate("qty + 1", SCHEMA)


def test_names_that_differ_only_by_case_are_different_columns() -> None:
    schema = pa.schema({"a": pa.int64()}).append(pa.field("A", pa.string()))
    assert typed("a", schema).type == pa.int64()
    assert typed("A", schema).type == pa.string()


def test_name_that_could_be_either_is_refused() -> None:
    schema = pa.schema({"ab": pa.int64()}).append(pa.field("AB", pa.string()))
    with pytest.raises(ExpressionError, match="could be several columns"):
        typed("Ab", schema)
