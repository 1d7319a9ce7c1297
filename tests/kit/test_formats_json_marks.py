"""Marks tell the same of a text as a look at every byte does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.kit.formats.json_marks import Marks
from tongqu.kit.formats.json_structure import Structure, stringified

TEXTS: Any = st.text(alphabet='ab"\\{}[],:\n é', max_size=8)
SCALARS: Any = st.none() | st.booleans() | st.integers() | TEXTS
NAMES: Any = st.text(alphabet='ab"\\', max_size=3)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
RECORDS: Any = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=5)


@given(RECORDS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_commas_and_depths_are_those_of_every_byte(records: list[Any], plain: bool) -> None:
    text = json.dumps(records, ensure_ascii=plain).encode()
    dense, marks = Structure.of(text), Marks.of(text)
    for depth in (0, 1, 2, 3):
        assert marks.commas(depth).tolist() == dense.commas(depth).tolist()
    assert np.array_equal(marks.depth, dense.depth[marks.places])


@given(RECORDS)
@settings(max_examples=60, deadline=None)
def test_nested_values_become_text(records: list[Any]) -> None:
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    made = Marks.of(lines).stringified(lines)
    assert made == stringified(lines)
    for record, line in zip(records, made.splitlines(), strict=True):
        again = json.loads(line)
        assert list(again) == list(record)
        for name, value in record.items():
            assert (json.loads(again[name]) if isinstance(value, list | dict) else again[name]) == value


def test_a_quote_ends_its_text_after_an_even_number_of_backslashes_only() -> None:
    for run in range(1, 6):
        text = json.dumps([{"a": "x" + "\\" * run, "b": '"' + "\\" * run + '"}'}, 1]).encode()
        assert Marks.of(text).commas(1).tolist() == Structure.of(text).commas(1).tolist() == [text.rindex(b",")]
