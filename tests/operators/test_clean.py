"""Cleaning against plain Python: spellings, dates, numbers and outliers, with what is kept of each repaired cell."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import statistics
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.chain import Chain
from tongqu.engine.graph import Graph
from tongqu.testing.single_step import Ran, Row, run

at = dt.datetime.fromisoformat
TEXT = pa.schema([pa.field("s", pa.string(), metadata={"tongqu.title": "名称"})])
few = settings(max_examples=25, deadline=None)


def clean(entry: Any, values: list[Any], kind: pa.DataType | None = None) -> Ran:
    schema = TEXT if kind is None else pa.schema([pa.field("s", kind)])
    return run({"clean": {"s": entry}}, [{"s": value} for value in values], schema)


# ---- spellings

SPACES = " \t\n\r\f\v\u00a0\u200b\u3000\ufeff"
HALF = {0xFF01 + n: 0x21 + n for n in range(94)} | {0x3000: 0x20}
SPELL: dict[str, Callable[[str], str]] = {
    "trim": lambda s: s.strip(SPACES),
    "collapse": lambda s: re.sub(f"[{SPACES}]+", " ", s),
    "half_width": lambda s: s.translate(HALF),
    "full_width": lambda s: s.translate({new: old for old, new in HALF.items()}),
    "upper": str.upper,
    "lower": str.lower,
}


@pytest.mark.oracle("clean")
@few
@given(
    st.lists(st.none() | st.text(alphabet="aB1' 　ａＢ１，％\t\u00a0\ufeff中😀", max_size=8), max_size=12),
    st.lists(st.sampled_from(sorted(SPELL)), min_size=1, max_size=4),
)
def test_spellings(values: list[str | None], actions: list[str]) -> None:
    found = clean(actions, values)
    expected = list(values)
    for action in actions:
        expected = [None if value is None else SPELL[action](value) for value in expected]
    assert found.column("s") == expected
    changed = sum(old != new for old, new in zip(values, expected, strict=True))
    assert (found.counts.cleaned, found.counts.repaired, found.bad) == (changed, 0, [])
    assert found.schema.field("s").metadata == {b"tongqu.title": "名称".encode()}


def test_originals_of_mere_spelling_are_kept_when_asked_for() -> None:
    found = clean({"text": ["trim"], "keep_original": True}, ["a", " b "])
    (kept,) = found.bad
    assert (kept.state, kept.code, kept.value, kept.original) == ("repaired", "clean.text", " b ", '{"s": " b "}')
    assert (found.counts.cleaned, found.counts.repaired, found.counts.rows_out) == (0, 1, 2)


# ---- dates

MONTHS = ("Jan", "FEB", "march", "Apr", "May", "june", "Jul", "August", "Sept", "Oct", "nov", "December")
SPELLED_DATES: dict[str, Any] = {
    "iso": lambda d: f"{d:%Y-%m-%d}",
    "slashes": lambda d: f"{d.year}/{d.month}/{d.day}",
    "dots": lambda d: f" {d.year}.{d.month:02}.{d.day} ",
    "packed": lambda d: f"{d:%Y%m%d}",
    "han": lambda d: f"{d.year}年{d.month}月{d.day}日",
    "named": lambda d: f"{d.day}-{MONTHS[d.month - 1]}-{d.year}",
    "words": lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    "wide": lambda d: f"{d:%Y/%m/%d}".translate({new: old for old, new in HALF.items()}),
    "midnight": lambda d: f"{d:%Y-%m-%d} 00:00:00",
}


@pytest.mark.oracle("clean")
@few
@given(st.lists(st.tuples(st.dates(dt.date(1000, 1, 1)), st.sampled_from(sorted(SPELLED_DATES))), max_size=12))
def test_dates_in_any_spelling(made: list[tuple[dt.date, str]]) -> None:
    texts = [SPELLED_DATES[how](day) for day, how in made]
    found = clean({"date": "date"}, texts)
    assert found.column("s") == [day for day, _ in made]
    assert found.schema.field("s").type == pa.date32()
    assert found.counts.cleaned == sum(how != "iso" for _, how in made)


@pytest.mark.oracle("clean")
@few
@given(st.lists(st.datetimes(at("1000-01-01"), at("9999-01-01")), max_size=12))
def test_instants(moments: list[dt.datetime]) -> None:
    moments = [moment.replace(microsecond=0) for moment in moments]
    forms = ("{0:%Y-%m-%d %H:%M:%S}", "{0:%Y/%m/%dT%H:%M:%S}", "{0:%Y%m%d%H%M%S}",
             "{0.year}年{0.month}月{0.day}日 {0.hour}时{0.minute}分{0.second}秒")  # fmt: skip
    texts = [forms[n % 4].format(moment) for n, moment in enumerate(moments)]
    assert clean({"date": "timestamp"}, texts).column("s") == moments


@pytest.mark.parametrize("order", ["dmy", "mdy"])
def test_numbers_for_months_need_the_order_stated(order: str) -> None:
    texts = ["3/4/2024", "13/4/2024", "1/2/69", "1/2/70"]
    found = clean({"date": {"order": order}, "otherwise": "null"}, texts)
    dmy = [dt.date(2024, 4, 3), dt.date(2024, 4, 13), dt.date(2069, 2, 1), dt.date(1970, 2, 1)]
    mdy = [dt.date(2024, 3, 4), None, dt.date(2069, 1, 2), dt.date(1970, 1, 2)]
    assert found.column("s") == (dmy if order == "dmy" else mdy)
    assert len(clean({"date": "date"}, texts).bad) == 4


@pytest.mark.parametrize(("serial", "wanted"), [
    ("45296", at("2024-01-05")), ("1", at("1900-01-01")), ("59", at("1900-02-28")), ("60", None),
    ("61", at("1900-03-01")), ("45296.5", at("2024-01-05 12:00")), ("0", None), ("2958466", None),
])  # fmt: skip
def test_excel_serials_when_told(serial: str, wanted: dt.datetime | None) -> None:
    entry = {"date": {"to": "timestamp", "excel": True}, "otherwise": None}
    assert clean(entry, [serial]).column("s") == [wanted]
    assert clean(entry, [float(serial)], pa.float64()).column("s") == [wanted]
    assert clean({"date": "timestamp"}, [serial]).rows == []


@pytest.mark.parametrize("text", [
    "2024-02-30", "2024-13-01", "24-1-5", "0000-01-01", "2024年", "now", "2024-01-05 25:00", "20241301", "5-Jax-24",
    "2024-01-05 10:30:00 tomorrow", "1 2 2024", "2024--1-5",
])  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    (bad,) = clean({"date": "timestamp"}, [text]).bad
    assert (bad.state, bad.code, bad.field, bad.value) == ("new", "clean.date", "s", text)
    kept = clean({"date": "timestamp", "otherwise": "keep"}, [text, "2024/1/5"])
    assert kept.column("s") == [text, "2024-01-05 00:00:00"]


def test_a_time_is_not_thrown_away() -> None:
    assert clean({"date": "date"}, ["2024-01-05 10:30"]).bad[0].code == "clean.date"


def test_blank_is_null() -> None:
    found = clean({"date": "date"}, ["", "　", None])
    assert (found.column("s"), found.bad, found.counts.cleaned) == ([None] * 3, [], 2)


# ---- numbers

UNITS = {"": 0, "千": 3, "万": 4, "百万": 6, "千万": 7, "亿": 8, "%": -2, "‰": -3}


@pytest.mark.oracle("clean")
@few
@given(st.lists(st.tuples(
    st.decimals(Decimal("-99999999.99"), Decimal("99999999.99"), places=2), st.sampled_from(sorted(UNITS)),
    st.sampled_from(["{}", "￥{}", "{}元", "USD {}", " {} "]), st.booleans(), st.booleans(),
), max_size=10))  # fmt: skip
def test_numbers_in_any_spelling(made: list[tuple[Decimal, str, str, bool, bool]]) -> None:
    texts, expected = [], []
    for value, unit, around, grouped, wide in made:
        text = around.format((f"{value:,}" if grouped else str(value)) + unit)
        texts.append(text.translate({new: old for old, new in HALF.items()}) if wide else text)
        expected.append(value.scaleb(UNITS[unit]))
    number = {"type": "decimal(30,5)", "currency": True, "percent": True, "units": True}
    assert clean({"number": number}, texts).column("s") == expected
    double = clean({"number": number | {"type": "double"}}, texts).column("s")
    assert double == [float(value) for value in expected]


@pytest.mark.parametrize("text", [
    "1,23", "12,34.5", "￥1,234", "1.2万", "12%", "1e5", "0x10", "--1", "1.", "1 234", "NaN", "1.239", "12345678901",
])  # fmt: skip
def test_what_is_no_number_unless_declared(text: str) -> None:
    (bad,) = clean({"number": "decimal(12,2)"}, [text]).bad
    assert (bad.code, bad.value) == ("clean.number", text)


def test_european_numbers() -> None:
    entry = {"number": {"type": "decimal(12,2)", "thousands": ".", "decimal": ","}}
    assert clean(entry, ["1.234,5", "7"]).column("s") == [Decimal("1234.50"), Decimal(7)]


def test_unreadable_becomes_null_as_a_repair() -> None:
    found = clean({"number": "bigint", "otherwise": "null"}, ["12", "1.5", "x"])
    assert found.column("s") == [12, None, None]
    assert [(kept.state, kept.code, kept.value) for kept in found.bad] == [
        ("repaired", "clean.number", "1.5"), ("repaired", "clean.number", "x"),
    ]  # fmt: skip
    assert (found.counts.repaired, found.counts.quarantined, found.counts.rows_out) == (2, 0, 3)


# ---- outliers

FIELDS: list[pa.Field[Any]] = [
    pa.field("k", pa.int32()),
    pa.field("g", pa.string()),
    pa.field("n", pa.int64()),
    pa.field("x", pa.float64()),
]
NUMBERS = pa.schema(FIELDS)  # fmt: skip
VALUES: st.SearchStrategy[int | None] = st.none() | st.integers(-5, 5) | st.sampled_from([90, -90])


def quartered(row: Row) -> Row:
    """The row with a quarter of its x."""
    return {**row, "x": None if row["x"] is None else row["x"] / 4}


ROWS = st.lists(
    st.fixed_dictionaries({"k": st.integers(0, 9), "g": st.sampled_from("ab"), "n": VALUES, "x": VALUES}), max_size=25
).map(lambda rows: [quartered(row) for row in rows])


def bounds(rule: Row, values: list[float]) -> tuple[float, float]:
    """The bounds that a rule draws from values."""
    if not values:
        return -math.inf, math.inf
    if "sigma" in rule:
        if len(values) < 2:
            return -math.inf, math.inf
        low = high = statistics.fmean(values)
        spread = rule["sigma"] * statistics.stdev(values)
    elif "iqr" in rule:
        low, high = (float(q) for q in np.quantile(values, [0.25, 0.75]))
        spread = rule["iqr"] * (high - low)
    else:
        low = high = statistics.median(values)
        spread = rule["mad"] * 1.4826 * statistics.median([abs(v - low) for v in values])
    return (low - spread, high + spread) if spread else (-math.inf, math.inf)


@pytest.mark.oracle("clean")
@pytest.mark.parametrize("then", ["clamp", "null", "quarantine"])
@pytest.mark.parametrize("limits", [{"min": -3, "max": 3}, {"min": "-2.5"}, {"max": 4}])
def test_given_bounds(then: str, limits: Row) -> None:
    low, high = float(limits.get("min", "-inf")), float(limits.get("max", "inf"))

    @settings(max_examples=15, deadline=None)
    @given(ROWS)
    def same(rows: list[Row]) -> None:
        found = run({"clean": {"n": {"outliers": {**limits, "then": then}}}}, rows, NUMBERS)
        odd = [row for row in rows if row["n"] is not None and not low <= row["n"] <= high]
        new: dict[str, Callable[[int], int | None]] = {
            "clamp": lambda n: math.ceil(low) if n < low else math.floor(high),
            "null": lambda _: None,
        }
        if then == "quarantine":
            assert found.rows == [row for row in rows if row not in odd]
            assert [bad.code for bad in found.bad] == ["clean.outlier"] * len(odd)
            return
        assert found.rows == [{**row, "n": new[then](row["n"])} if row in odd else row for row in rows]
        assert [json.loads(kept.original) for kept in found.bad] == odd
        assert [(kept.code, kept.value, kept.state) for kept in found.bad] == [
            (f"clean.{then}", str(row["n"]), "repaired") for row in odd
        ]
        assert found.counts.repaired == len(odd)

    same()


@pytest.mark.oracle("clean")
@pytest.mark.parametrize("rule", [{"sigma": 1.5}, {"iqr": 1.5}, {"mad": 3.0}])
@pytest.mark.parametrize("then", ["clamp", "median", "last_good"])
def test_bounds_from_the_data(rule: Row, then: str) -> None:
    more: Row = {"order": ["k"]} if then == "last_good" else {}

    @settings(max_examples=15, deadline=None)
    @given(ROWS)
    def same(rows: list[Row]) -> None:
        step = {"clean": {"x": {"outliers": {**rule, "then": then, "by": ["g"], **more}}}}
        found = run(step, rows, NUMBERS)
        expected, odd = _repaired(rows, rule, then)
        assert [row["k"] for row in found.rows] == [row["k"] for row in expected]
        for row, wanted in zip(found.rows, expected, strict=True):
            assert row["x"] == (None if wanted["x"] is None else pytest.approx(wanted["x"]))
        kept = [bad for bad in found.bad if bad.state == "repaired"]
        assert sorted(_key(json.loads(bad.original)) for bad in kept) == sorted(map(_key, odd))
        assert found.counts.quarantined == len(rows) - len(expected)

    same()


def _key(row: Row) -> str:
    same = {name: float(value) if isinstance(value, int) else value for name, value in row.items()}
    return json.dumps(same, sort_keys=True)


def _repaired(rows: list[Row], rule: Row, then: str) -> tuple[list[Row], list[Row]]:
    """The rows as they come out, and the repaired ones as they came in."""
    result: dict[int, Row | None] = {}
    odd: list[Row] = []
    for group in {row["g"] for row in rows}:
        members = [at for at, row in enumerate(rows) if row["g"] == group]
        low, high = bounds(rule, [rows[n]["x"] for n in members if rows[n]["x"] is not None])
        good = [rows[n]["x"] for n in members if rows[n]["x"] is not None and low <= rows[n]["x"] <= high]
        last = None
        for n in sorted(members, key=lambda i: (rows[i]["k"], i)):
            x = rows[n]["x"]
            if x is None or low <= x <= high:
                result[n] = rows[n]
                last = x if x is not None else last
                continue
            new = {"clamp": low if x < low else high, "last_good": last}.get(then)
            if then == "median":
                new = statistics.median(good) if good else None
            result[n] = None if new is None else {**rows[n], "x": new}
            odd += [rows[n]] if new is not None else []
    return [row for n in range(len(rows)) if (row := result[n]) is not None], odd


def test_an_outlier_that_is_read_from_text_is_one_repair() -> None:
    rule = {"text": ["trim"], "number": "double", "outliers": {"max": 100, "then": "clamp"}}
    found = clean(rule, [" 1,000 ", "12", " 13"])
    assert (found.column("s"), found.counts.repaired, found.counts.cleaned) == ([100.0, 12.0, 13.0], 1, 2)
    assert found.bad[0].message == "s ' 1,000 ' became '100': it is above 100"


def test_not_a_number_is_above_any_bound() -> None:
    found = clean({"outliers": {"max": 5, "then": "clamp"}}, [math.nan, math.inf, 1.0], pa.float64())
    assert found.column("s") == [5.0, 5.0, 1.0]


def test_repaired_rows_of_a_later_refusal_are_in_both_records() -> None:
    steps: list[Row] = [{"clean": {"s": {"outliers": {"max": 5, "then": "clamp"}}}}, {"check": {"s": {"max": 3}}}]
    schema = pa.schema([pa.field("s", pa.int64())])
    chain = Chain(Dataset("t", schema), [parse_step(s, f"steps[{n}]") for n, s in enumerate(steps)])
    result = chain.run(pa.table({"s": [9, 1, 4]}, schema=schema))
    chain.close()
    assert result.rows.to_pylist() == [{"s": 1}]
    assert [(bad.state, bad.code, bad.original) for bad in result.bad] == [
        ("repaired", "clean.clamp", '{"s": 9}'), ("new", "check.range", '{"s": 5}'), ("new", "check.range", '{"s": 4}'),
    ]  # fmt: skip


# ---- refused when planning


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"s": {}}, InvalidSettingsError, "give `text`"),
        ({"s": {"date": "date", "number": "double"}}, InvalidSettingsError, "not both"),
        ({"s": {"number": "date"}}, InvalidPlanError, "no type of numbers"),
        ({"s": {"outliers": {"max": 5}}}, InvalidPlanError, "only numbers have outliers"),
        ({"n": ["trim"]}, InvalidPlanError, "cleans only text"),
        ({"n": {"number": "double"}}, InvalidPlanError, "not text to read numbers from"),
        ({"n": {"outliers": {"sigma": 3, "iqr": 1.5}}}, InvalidSettingsError, "one way"),
        ({"n": {"outliers": {"max": 1, "then": "last_good"}}}, InvalidSettingsError, "needs `order`"),
        ({"d": {"outliers": {"max": "1.234", "then": "clamp"}}}, InvalidPlanError, "cannot be set to 1.234"),
        ({"n": {"outliers": {"sigma": 3, "by": ["z"]}}}, UnknownNameError, "no column 'z'"),
        ({"z": ["trim"]}, UnknownNameError, "no column 'z'"),
    ],
)
def test_refused_when_planning(entry: Any, error: type[ConfigError], words: str) -> None:
    fields: list[pa.Field[Any]] = [*TEXT, pa.field("n", pa.int64()), pa.field("d", pa.decimal128(9, 2))]
    schema = pa.schema(fields)
    with pytest.raises(error, match=words):
        parse_step({"clean": entry}, "steps[0]").operator.output([Dataset("t", schema)])


def test_bounds_from_changes_only_are_refused() -> None:
    step = parse_step({"clean": {"n": {"outliers": {"iqr": 1.5}}}}, "steps[0]")
    with pytest.raises(InvalidPlanError, match="gives only changes"):
        Graph(plan(["s"], [step], {"out": None}), {"s": Dataset("s", NUMBERS)}, incremental=["s"])


def test_names_that_differ_only_by_case_or_hold_quotes() -> None:
    fields: list[pa.Field[Any]] = [pa.field("a", pa.string()), pa.field("A", pa.int64()), pa.field('q"{x}', pa.int64())]
    schema = pa.schema(fields)
    rows = [{"a": " 1 ", "A": n, 'q"{x}': n} for n in (1, 2, 2, 3, 900)]
    outliers = {"outliers": {"mad": 3, "then": "median"}}
    found = run({"clean": {"a": ["trim"], "A": outliers, 'q"{x}': outliers}}, rows, schema)
    assert found.rows == [{"a": "1", "A": n, 'q"{x}': n} for n in (1, 2, 2, 3, 2)]
