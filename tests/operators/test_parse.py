"""Fields out of JSON and XML texts."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ExpressionError, InvalidPlanError, UnknownNameError
from tongqu.testing.steps import planned, run_in_chain, run_step

Row = dict[str, Any]
SCHEMA = pa.schema([("id", pa.int64())]).append(pa.field("t", pa.string()))
few = settings(max_examples=12, deadline=None)
TEXT = st.text(alphabet="ab\"\\中🙂<&' ", max_size=4)
NUMBER = st.integers(-(10**18), 10**18).map(lambda n: Decimal(n).scaleb(-6))


def rows_of(*texts: str | None) -> pa.Table:
    return pa.Table.from_pylist([{"id": n, "t": text} for n, text in enumerate(texts)], schema=SCHEMA)


FIELDS = {
    "name": "varchar",
    "n": {"path": "in.ner[1].n", "type": "bigint"},
    "d": {"path": "in.d", "type": "decimal(38,6)"},
    "flag": "boolean",
    "doc": {"path": "in", "type": "json"},
}
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | TEXT,
        "flag": st.none() | st.booleans(),
        "in": st.fixed_dictionaries(
            {},
            optional={
                "ner": st.lists(st.just({}) | st.integers(-(2**63), 2**63 - 1).map(lambda n: {"n": n}), max_size=3),
                "d": NUMBER,
            },
        ),
    },
)


def dumped(document: Any) -> str:
    """JSON with decimals as plain numbers, whatever their length."""
    if isinstance(document, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {dumped(v)}" for k, v in document.items()) + "}"
    if isinstance(document, list):
        return "[" + ",".join(dumped(v) for v in document) + "]"
    return format(document, "f") if isinstance(document, Decimal) else json.dumps(document, ensure_ascii=False)


@pytest.mark.oracle("parse")
@few
@given(st.lists(st.none() | st.sampled_from(["{", "", "3", "null", '{"a":1}}']) | DOCUMENT, max_size=8), st.booleans())
def test_json(documents: list[Any], keep: bool) -> None:
    texts = [d if d is None or isinstance(d, str) else dumped(d) for d in documents]
    expected = []
    for number, document in enumerate(documents):
        if isinstance(document, str) and document != '{"a":1}':
            continue
        found = document or {}
        inner = found.get("in", {})
        second = inner.get("ner", [])[1:2]
        expected.append(
            {
                "id": number,
                **({"t": texts[number]} if keep else {}),
                "name": found.get("name"),
                "n": second[0].get("n") if second else None,
                "d": inner.get("d"),
                "flag": found.get("flag"),
            }
        )
    step = {"parse": {"column": "t", "format": "json", "fields": FIELDS, "keep": keep}}
    for ran in (run_step(step, rows_of(*texts), batch_rows=3), run_in_chain(step, rows_of(*texts))):
        assert ran.rows.drop_columns(["doc"]).to_pylist() == expected
        assert ran.codes == ["parse.invalid"] * sum(isinstance(d, str) for d in documents)
        assert ran.output.schema.field("doc").metadata == {b"tongqu.logical": b"json"}


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("int", '"x"', "parse.type"),
        ("int", "1.5", "parse.type"),
        ("tinyint", "300", "parse.type"),
        ("date", '"2026-02-30"', "parse.type"),
        ("boolean", "7.5", "parse.type"),
        ("varchar", '{"b": [1]}', None),
        ("int", "2.0", None),
    ],
)
def test_value_that_does_not_fit(kind: str, value: str, code: str | None) -> None:
    ran = run_in_chain(
        {"parse": {"column": "t", "format": "json", "fields": {"v": kind}}}, rows_of(f'{{"v": {value}}}')
    )
    assert ran.codes == ([code] if code else [])


def test_required_field_and_refused_row() -> None:
    fields = {"v": {"type": "int", "path": "a.v", "required": True}}
    ran = run_in_chain({"parse": {"column": "t", "format": "json", "fields": fields}}, rows_of('{"a": {}}', None))
    (bad,) = ran.bad
    assert (bad.code, bad.field, bad.message) == ("parse.missing", "t", "t '{\"a\": {}}' has no a.v")
    assert json.loads(bad.original) == {"id": 0, "t": '{"a": {}}'} and ran.rows.to_pylist() == [{"id": 1, "v": None}]


def test_long_numbers_stay_exact() -> None:
    text = (
        '{"a": 12345678901234567890.12345, "b": 99999999999999999999999999999999999999, "c": [0.1234567890123456789]}'
    )
    fields = {"a": "decimal(38,5)", "b": "decimal(38,0)", "c": {"path": "c[0]"}}
    ran = run_in_chain({"parse": {"column": "t", "format": "json", "fields": fields, "keep": True}}, rows_of(text))
    assert ran.rows.to_pylist() == [
        {
            "id": 0,
            "t": text,
            "a": Decimal("12345678901234567890.12345"),
            "b": Decimal("9" * 38),
            "c": "0.1234567890123456789",
        }
    ]


@pytest.mark.oracle("parse")
@few
@given(st.lists(st.none() | st.tuples(st.none() | TEXT, st.lists(TEXT, max_size=2), st.integers(-9, 9)), max_size=8))
def test_xml(rows: list[tuple[str | None, list[str], int] | None]) -> None:
    def written(name: str | None, items: list[str], number: int) -> str:
        head = "" if name is None else f"<n:name>{escape(name)}</n:name>"
        inner = "".join(f"<item no={quoteattr(item)}>{escape(item)}<b>!</b></item>" for item in items)
        return f"<?xml version='1.0'?><order xmlns:n='urn:n' v='{number}'>{head}<items>{inner}</items></order>"

    fields = {
        "name": "varchar",
        "v": {"path": "@v", "type": "int"},
        "second": {"path": "items/item[1]"},
        "no": {"path": "items/item[0]/@no"},
    }
    expected = [
        {
            "id": number,
            "name": row[0] if row else None,
            "v": row[2] if row else None,
            "second": row[1][1] + "!" if row and len(row[1]) > 1 else None,
            "no": row[1][0] if row and row[1] else None,
        }
        for number, row in enumerate(rows)
    ]
    step = {"parse": {"column": "t", "format": "xml", "fields": fields}}
    ran = run_in_chain(step, rows_of(*(written(*row) if row else None for row in rows)))
    assert ran.rows.to_pylist() == expected and not ran.bad


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<a><b></a>", "parse.invalid"),
        ("", "parse.invalid"),
        ("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a><v>&x;</v></a>", "parse.invalid"),
        ("<!DOCTYPE a [<!ENTITY x 'ha'>]><a><v>&x;</v></a>", "parse.invalid"),
        ("<a><v>1</v><v>2</v></a>", "parse.several"),
        ("<a><v>x</v></a>", "parse.type"),
    ],
)
def test_xml_that_is_none_or_says_too_much(text: str, code: str) -> None:
    step = {"parse": {"column": "t", "format": "xml", "fields": {"v": "int"}}}
    ran = run_in_chain(step, rows_of("<a><v> 3</v></a>", text))
    assert ran.codes == [code] and ran.rows["v"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"column": "x"}, UnknownNameError, "no column 'x'"),
        ({"column": "id"}, InvalidPlanError, "'id' is int64, not text"),
        ({"fields": {"v": "integr"}}, ExpressionError, "unknown type 'integr'"),
        ({"fields": {"v": {"path": "a.*"}}}, InvalidPlanError, "no path into JSON"),
        ({"fields": {"v": {"path": "a..b"}}}, InvalidPlanError, "no path into JSON"),
        ({"fields": {"v": {"path": "//b"}}, "format": "xml"}, InvalidPlanError, "no path into XML"),
        ({"fields": ["id"]}, InvalidPlanError, "two columns named 'id'"),
    ],
)
def test_what_cannot_work_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"parse": {"column": "t", "format": "json", "fields": ["v"], **settings}}, Dataset("a", SCHEMA))
