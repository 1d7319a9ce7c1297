"""Records as CSV."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import pytest

from tongqu.app.services.sheets import written


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("-x", "'-x"), (-5, "-5"), (True, "true"), (None, ""),
     ("a,\n\"b\"", "a,\n\"b\""),
     (["甲"], '["甲"]')],
)  # fmt: skip
def test_a_cell_is_data_and_never_a_formula(value: Any, cell: str) -> None:
    stream = StringIO(newline="")
    assert written([{"a": value, "b": 1}], stream, ("a",)) == 1
    assert list(csv.reader(StringIO(stream.getvalue(), newline=""))) == [["a", "more"], [cell, '{"b": 1}']]


def test_without_columns_it_is_lines_of_json() -> None:
    stream = StringIO()
    assert written([{"a": "甲"}, {}], stream) == 2
    assert stream.getvalue() == '{"a": "甲"}\n{}\n'
