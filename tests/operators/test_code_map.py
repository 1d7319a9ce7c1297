"""Code maps against a plain dictionary, spelled out in SQL and looked up in Arrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.testing.single_step import Row, run, step

FIELDS: list[pa.Field[Any]] = [pa.field("k", pa.string(), metadata={"tongqu.title": "状态"}), pa.field("n", pa.int32())]
SCHEMA = pa.schema(FIELDS)
CODES = st.sampled_from(["1", "2", "A", "a", "", "it's", "中"])
ROWS = st.lists(st.fixed_dictionaries({"k": st.none() | CODES, "n": st.none() | st.integers(-3, 3)}), max_size=20)
MANY = {f"code {n}": "never" for n in range(100)}
few = settings(max_examples=25, deadline=None)


@pytest.mark.oracle("code_map")
@pytest.mark.parametrize("more", [{}, MANY], ids=["sql", "arrow"])
@pytest.mark.parametrize("unmatched", ["quarantine", "keep", "null", "default"])
def test_text_codes(more: dict[str, str], unmatched: str) -> None:
    @few
    @given(ROWS, st.dictionaries(CODES, st.sampled_from(["open", "closed", None]), min_size=1))
    def same(rows: list[Row], pairs: dict[str, str | None]) -> None:
        way: Row = {"default": "?"} if unmatched == "default" else {"unmatched": unmatched}
        found = run({"code_map": {"k": {"map": pairs | more, **way}}}, rows, SCHEMA)
        known = [row for row in rows if row["k"] is None or row["k"] in pairs]
        other: dict[str, Callable[[str], str | None]] = {
            "keep": lambda k: k,
            "null": lambda _: None,
            "default": lambda _: "?",
        }
        if unmatched == "quarantine":
            assert found.column("k") == [pairs.get(row["k"]) for row in known]
            assert [(bad.code, bad.field, bad.value) for bad in found.bad] == [
                ("code_map.unmatched", "k", row["k"]) for row in rows if row not in known
            ]
        else:
            assert found.column("k") == [
                None if row["k"] is None else pairs[row["k"]] if row["k"] in pairs else other[unmatched](row["k"])
                for row in rows
            ]
        assert found.schema.field("k").metadata == {b"tongqu.title": "状态".encode()}

    same()


@pytest.mark.parametrize("more", [{}, dict.fromkeys(range(1000, 1100), 0)], ids=["sql", "arrow"])
def test_integers_into_another_column(more: dict[int, int]) -> None:
    rows = [{"k": None, "n": n} for n in (1, 2, None, 3)]
    found = run({"code_map": {"n": {"map": {1: 10, 2: 20, **more}, "default": -1, "into": "m"}}}, rows, SCHEMA)
    assert (found.column("n"), found.column("m")) == ([1, 2, None, 3], [10, 20, None, -1])
    assert found.schema.field("m").type == pa.int64()


def test_map_with_null() -> None:
    found = run({"code_map": {"k": {"map": {None: "none", "1": "one"}}}}, [{"k": None}, {"k": "1"}], SCHEMA)
    assert found.column("k") == ["none", "one"]


def test_from_a_file_and_from_the_dictionary(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text('\ufeffcode,name\n1,开立\n"2, b",关闭\n3,\n', encoding="utf-8")
    made = step({"code_map": {"k": {"file": "codes.csv"}}}, str(tmp_path))
    assert run(made, [{"k": "1"}, {"k": "2, b"}, {"k": "3"}], SCHEMA).column("k") == ["开立", "关闭", None]
    dictionary = {"order": {"fields": {"status": {"codes": {"1": "open"}}}}}
    listed = step({"code_map": {"k": {"codes": "order.status"}}}, dictionary=dictionary)
    assert run(listed, [{"k": "1"}], SCHEMA).column("k") == ["open"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,x\n1,y\n", "line 3 .* maps '1' to 'y'"),
        ("a,b\n1\n", "line 2 .* has 1 cells"),
        ('a,b\n"1,x\n', "no CSV"),
    ],
)
def test_files_that_are_no_code_maps(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "codes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        step({"code_map": {"k": {"file": "codes.csv"}}}, str(tmp_path))
    assert caught.value.path == "steps[0].code_map.k"


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"map": {"1": "a"}, "file": "x"}, InvalidSettingsError, "give one of"),
        ({"map": {"1": "a"}, "unmatched": "keep", "default": 1}, InvalidSettingsError, "not both"),
        ({"map": {"1": 1}, "unmatched": "keep"}, InvalidPlanError, "cannot be kept as bigint"),
        ({"map": {"1": "x"}, "type": "bigint"}, InvalidPlanError, "the result for 'k': 'x' is no int64"),
        ({"file": "../codes.csv"}, InvalidPlanError, "not inside the project"),
        ({"file": "missing.csv"}, ConfigError, "cannot be read"),
        ({"codes": "a.b"}, UnknownNameError, "no code list 'a.b'"),
    ],
)
def test_refused_when_planning(entry: Row, error: type[ConfigError], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        parse_step({"code_map": {"k": entry}}, "s", folder=str(tmp_path)).operator.output([Dataset("t", SCHEMA)])


def test_codes_of_a_column_that_has_none() -> None:
    schema: Any = pa.schema([pa.field("d", pa.float64())])
    with pytest.raises(InvalidPlanError, match="codes are text, integers or booleans"):
        parse_step({"code_map": {"d": {"map": {1: "a"}}}}, "s").operator.output([Dataset("t", schema)])
    with pytest.raises(InvalidPlanError, match="the code of 'n': 'x' is no int32"):
        parse_step({"code_map": {"n": {"map": {"x": "a"}}}}, "s").operator.output([Dataset("t", SCHEMA)])
