"""One text column into several."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.testing.steps import planned, run_in_chain, run_step

Row = dict[str, Any]
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("t", pa.string(), metadata={"tongqu.native": "postgres:text", "tongqu.class": "internal"}),
]
SCHEMA = pa.schema(FIELDS)
TEXTS = st.lists(st.none() | st.text(alphabet="aB中🙂-'", max_size=8), max_size=12)
few = settings(max_examples=12, deadline=None)


def rows_of(texts: list[str | None]) -> pa.Table:
    return pa.Table.from_pylist([{"id": n, "t": text} for n, text in enumerate(texts)], schema=SCHEMA)


def ran_alike(step: Row, texts: list[str | None], expected: list[list[str | None] | str]) -> None:
    """`expected` has the parts of each text, or the code of its fault."""
    good = [parts for parts in expected if not isinstance(parts, str)]
    codes = [parts for parts in expected if isinstance(parts, str)]
    for ran in (run_step(step, rows_of(texts), batch_rows=5), run_in_chain(step, rows_of(texts))):
        assert [[row["a"], row["b"], row["c"]] for row in ran.rows.to_pylist()] == good
        assert ran.codes == codes and ran.counts.quarantined == len(codes)


@pytest.mark.oracle("split_columns")
@few
@given(TEXTS, st.sampled_from(["null", "quarantine"]), st.sampled_from(["quarantine", "drop", "last"]))
def test_by_separator(texts: list[str | None], missing: str, extra: str) -> None:
    def parts(text: str | None) -> list[str | None] | str:
        if text is None:
            return [None] * 3
        found: list[str | None] = [*text.split("-", 2 if extra == "last" else -1)]
        if len(found) < 3 and missing == "quarantine":
            return "split_columns.missing"
        if len(found) > 3 and extra == "quarantine":
            return "split_columns.extra"
        return (found + [None] * 3)[:3]

    step = {"column": "t", "separator": "-", "into": ["a", "b", "c"], "missing": missing, "extra": extra}
    ran_alike({"split_columns": step}, texts, [parts(text) for text in texts])


def cut(text: str | None, missing: str, extra: str) -> list[str | None] | str:
    if text is None:
        return [None] * 3
    if len(text) < 6 and missing == "quarantine":
        return "split_columns.missing"
    if len(text) > 6 and extra == "quarantine":
        return "split_columns.extra"
    return [text[0:1] or None, text[1:3] or None, text[3 : None if extra == "last" else 6] or None]


@pytest.mark.oracle("split_columns")
@few
@given(TEXTS, st.sampled_from(["null", "quarantine"]), st.sampled_from(["quarantine", "drop", "last"]))
def test_by_widths(texts: list[str | None], missing: str, extra: str) -> None:
    step = {"column": "t", "widths": [1, 2, 3], "into": ["a", "b", "c"], "missing": missing, "extra": extra}
    ran_alike({"split_columns": step}, texts, [cut(text, missing, extra) for text in texts])


@pytest.mark.oracle("split_columns")
@few
@given(TEXTS, st.sampled_from(["null", "quarantine"]))
def test_by_pattern(texts: list[str | None], missing: str) -> None:
    def parts(text: str | None) -> list[str | None] | str:
        if text is None:
            return [None] * 3
        found = re.fullmatch("([aB]*)(-|中)?(.*)|x", text, re.DOTALL)
        if found is None or "\n" in text:
            return "split_columns.missing" if missing == "quarantine" else [None] * 3
        return [group or "" for group in found.groups()]

    step = {"column": "t", "pattern": "([aB]*)(-|中)?(.*)|x", "into": ["a", "b", "c"], "missing": missing}
    ran_alike({"split_columns": step}, texts, [parts(text) for text in texts])


def test_widths_are_cut_in_postgres_as_here(pg_url: str) -> None:
    step = {"split_columns": {"column": "t", "widths": [1, 2, 3], "into": ["a", "b", "c"], "extra": "drop"}}
    chain = Chain(Dataset("rows", SCHEMA), [parse_step(step, "steps[0]")])
    select, reason = chain.pushdown("postgres")
    assert select is not None, reason
    items = ", ".join(f'{column.sql or column.name} AS "{column.name}"' for column in select.columns)
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE rows (id bigint PRIMARY KEY, t text)")

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(TEXTS)
        def same(texts: list[str | None]) -> None:
            connection.execute("TRUNCATE rows")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO rows VALUES (%s, %s)", list(enumerate(texts)))
            found = connection.execute(f"SELECT {items} FROM rows ORDER BY id".encode()).fetchall()
            assert found == [(n, *cut(text, "null", "drop")) for n, text in enumerate(texts)]

        same()


@pytest.mark.parametrize(
    ("more", "reason"),
    [({"separator": "-", "extra": "drop"}, "a: "), ({"widths": [1, 2, 3]}, "can send rows to quarantine")],
)
def test_what_is_not_pushed_says_why(more: Row, reason: str) -> None:
    step = {"split_columns": {"column": "t", "into": ["a", "b", "c"], **more}}
    assert reason in Chain(Dataset("rows", SCHEMA), [parse_step(step, "s")]).pushdown("postgres")[1]


def test_parts_keep_the_class() -> None:
    _, output = planned(
        {"split_columns": {"column": "t", "separator": "-", "into": ["a"], "keep": True}}, Dataset("a", SCHEMA)
    )
    assert output.columns == ("id", "t", "a") and output.schema.field("a").metadata == {b"tongqu.class": b"internal"}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"column": "x", "separator": "-"}, UnknownNameError, "no column 'x'"),
        ({"column": "id", "separator": "-"}, InvalidPlanError, "'id' is int64"),
        ({"column": "t"}, InvalidPlanError, "no way to cut"),
        ({"column": "t", "separator": "-", "widths": [1]}, InvalidPlanError, "separator and widths"),
        ({"column": "t", "widths": [1, 2]}, InvalidPlanError, "2 widths for 1 columns"),
        ({"column": "t", "pattern": "a(b"}, InvalidPlanError, "no regular expression"),
        ({"column": "t", "pattern": "(a)(b)"}, InvalidPlanError, "2 groups for 1 columns"),
    ],
)
def test_what_cannot_work_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"split_columns": {"into": ["a"], **settings}}, Dataset("a", SCHEMA))


@pytest.mark.parametrize(
    "pattern", [r"(\pL)\((.)", "([^]()])[(](.)", r"\Q\E(?i)(?P<x>A)\Q(\E(.)", r"([[:alpha:]])\((?:(.)|y)\z"]
)
def test_groups_are_counted_as_re2_does(pattern: str) -> None:
    step = {"split_columns": {"column": "t", "pattern": pattern, "into": ["a", "b"]}}
    assert run_in_chain(step, rows_of(["a(b"])).rows.to_pylist() == [{"id": 0, "a": "a", "b": "b"}]
