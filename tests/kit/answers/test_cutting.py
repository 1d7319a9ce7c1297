"""Records are cut out of bodies byte for byte, whatever stands around them and however the body arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import AnswerError
from tongqu.kit.answers.cutting import Cutting
from tongqu.kit.answers.selecting import selection

BODY = b'{"code": 0, "data": {"total": 2, "list": [{"id": 1, "t": "a]}"}, {"id": 2,\n "n": [1.10]}]}, "next": "x"}'


def cut(body: bytes, records: str, size: int = 1 << 20, *, texts: bool = False) -> tuple[list[Any], Cutting]:
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    cutting = Cutting(chunks, selection(records), "orders", texts=texts)
    lines = b"".join(cutting)
    return [json.loads(line) for line in lines.splitlines()], cutting


def test_records_and_what_stands_around_them() -> None:
    records, cutting = cut(BODY, "data.list")
    assert records == [{"id": 1, "t": "a]}"}, {"id": 2, "n": [1.1]}]
    assert cutting.envelope == {"code": 0, "data": {"total": 2, "list": []}, "next": "x"}
    assert (cutting.count, cutting.last) == (2, b'{"id": 2,  "n": [1.10]}')


def test_nested_values_can_be_text() -> None:
    records, _ = cut(BODY, "data.list", texts=True)
    assert records == [{"id": 1, "t": "a]}"}, {"id": 2, "n": "[1.10]"}]


@pytest.mark.parametrize(
    ("records", "body", "found"),
    [
        ("", b"[]", []),
        ("", b' [ {"a": 1} ] ', [{"a": 1}]),
        ("", b'{"a": 1}', [{"a": 1}]),
        ("items", b'{"items": null}', []),
        ("item", b'{"item": {"a": 1.50}}', [{"a": 1.5}]),
        ("ids", b'{"ids": ["x", 7, null]}', [{"value": "x"}, {"value": 7}, {"value": None}]),
        ("/a.b/c", b'{"a.b": {"c": [{"x": 1}]}}', [{"x": 1}]),
        ("$.data[*].lines[*]", b'{"data": [{"lines": [{"n": 1}]}, {"lines": [{"n": 2}]}]}', [{"n": 1}, {"n": 2}]),
        ("data[?ok].{n: n}", b'{"data": [{"ok": true, "n": 1}, {"ok": false, "n": 2}]}', [{"n": 1}]),
    ],
)
def test_where_records_stand(records: str, body: bytes, found: list[Any]) -> None:
    assert cut(body, records)[0] == found


def test_decimals_keep_their_digits_where_a_path_expression_selects() -> None:
    cutting = Cutting([b'{"data": [{"n": 12345678901234567890.10}]}'], selection("$.data[?@.n]"), "orders")
    assert b"".join(cutting) == b'{"n":12345678901234567890.10}\n'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"errcode": 40001, "errmsg": "invalid credential"}', "40001 invalid credential"),
        (b'{"success": false, "message": "no right"}', "no right"),
        (b'{"data": {"rows": []}}', "no records at 'data.list'"),
        (b"<html>login</html>", "no JSON"),
        (b'{"data": {"list": [{"id": 1}, {"id"', "cut off"),
        (b'{"data": {"list": [{"id": 1}]', "no JSON"),
        (b"", "no JSON"),
    ],
)
def test_what_holds_no_records_is_never_an_empty_page(body: bytes, said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        cut(body, "data.list")


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[],: é\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
RECORDS: Any = st.lists(st.dictionaries(st.text(alphabet='ab"', max_size=2), VALUES, max_size=3), max_size=6)


@given(RECORDS, st.integers(1, 40), st.sampled_from([None, 1]))
@settings(max_examples=60, deadline=None)
def test_any_body_in_any_pieces(records: list[Any], size: int, indent: int | None) -> None:
    body = json.dumps({"a": [[]], "b": {"items": records}, "c": {"items": 1}}, indent=indent).encode()
    found, cutting = cut(body, "b.items", size)
    assert found == records
    assert cutting.count == len(records)


def test_a_large_answer_is_never_held_whole() -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"items": ['
        for number in range(40):
            yield (b'{"id": 1, "t": "' + b"x" * 1000 + b'"},') * 256
            held.append(len(cutting._rest))
            del number
        yield b'{"id": 2}]}'

    held: list[int] = []
    cutting = Cutting(chunks(), selection("items"), "orders")
    assert sum(lines.count(b"\n") for lines in cutting) == 40 * 256 + 1
    assert max(held) < 3 << 20
