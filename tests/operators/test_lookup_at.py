"""Looking rows up as of their own time in a dataset that has versions of its rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import DuplicateError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.testing.steps import planned, run_in_chain, run_step

Row = dict[str, Any]
INSTANT = pa.timestamp("us", "UTC")
SALES = pa.schema({"k": pa.string()}).append(pa.field("at", INSTANT))
RATES = pa.schema({"code": pa.string()}).append(pa.field("rate", pa.int64())).append(pa.field("since", INSTANT))
RATES = RATES.append(pa.field("until", INSTANT)).append(pa.field("revision", pa.int64()))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def hour(number: int | None) -> datetime | None:
    return None if number is None else BEGIN + timedelta(hours=number)


def sales(*rows: tuple[str | None, int | None]) -> pa.Table:
    return pa.Table.from_pylist([{"k": k, "at": hour(at)} for k, at in rows], schema=SALES)


def rates(*rows: tuple[str | None, int, int | None, int | None]) -> pa.Table:
    made = [
        {"code": code, "rate": rate, "since": hour(since), "until": hour(until), "revision": number}
        for number, (code, rate, since, until) in enumerate(rows)
    ]
    return pa.Table.from_pylist(made, schema=RATES)


def step(**more: Any) -> Row:
    at = more.pop("at", {"on": "at", "valid_from": "since", "valid_to": "until"})
    return {"lookup": {"in": "b", "on": {"k": "code"}, "fields": ["rate"], "at": at, **more}}


PERIODS = rates(("a", 1, 2, 6), ("a", 2, 6, 9), ("a", 3, 12, None), ("b", 4, 0, 5))


def found(settings: Row, main: pa.Table, side: pa.Table) -> list[int | None]:
    """The rates, whether the rows come at once or in chunks."""
    once, chunks = run_step(settings, main, side), run_in_chain(settings, main, side, chunk=2)
    assert once.rows.equals(chunks.rows) and once.codes == chunks.codes
    made: list[int | None] = chunks.rows["rate"].to_pylist()
    return made


def test_a_version_holds_from_its_beginning_until_just_before_its_end() -> None:
    main = sales(("a", 1), ("a", 2), ("a", 5), ("a", 6), ("a", 9), ("a", 11), ("a", 12), ("a", 900), ("b", 5), ("c", 1))
    assert found(step(), main, PERIODS) == [None, 1, 1, 2, None, None, 3, 3, None, None]
    assert found(step(missing="drop"), main, PERIODS) == [1, 1, 2, 3, 3]


def test_without_an_end_the_next_version_ends_one() -> None:
    at = {"on": "at", "valid_from": "since"}
    assert found(step(at=at), sales(("a", 1), ("a", 8), ("a", 10), ("a", 12), ("b", 90)), PERIODS) == [None, 2, 2, 3, 4]


def test_nothing_matches_what_is_not_known() -> None:
    main = sales((None, 3), ("a", None), ("a", 3))
    side = rates((None, 1, 0, None), ("a", 2, None, None), ("a", 3, 5, 5), ("a", 4, 8, 3))
    assert found(step(), main, side) == [None, None, None]
    ran = run_in_chain(step(missing="quarantine"), main, side)
    assert ran.codes == ["lookup.missing"] * 3
    assert ran.bad[2].message == "k 'a' has no version in 'b' that holds at the row's 'at'"


def test_versions_that_overlap_stop_the_run_where_a_row_meets_them() -> None:
    side = rates(("a", 1, 0, 10), ("a", 2, 4, 6), ("b", 3, 0, None))
    assert found(step(), sales(("a", 3), ("a", 6), ("b", 5)), side) == [1, 1, 3]
    with pytest.raises(DuplicateError) as caught:
        run_in_chain(step(), sales(("b", 5), ("a", 5)), side)
    told = "2026-01-01 {}:00:00+00"
    assert caught.value.message == (
        "step 'lookup': in 'b' the key code = a has versions that overlap: "
        f"from {told.format('00')} to {told.format('10')} and from {told.format('04')} to {told.format('06')}"
    )
    ran = run_in_chain(step(many="quarantine"), sales(("a", 5), ("a", 3)), side)
    assert ran.codes == ["lookup.many"] and ran.rows["rate"].to_pylist() == [1]
    assert found(step(many="first", order="-revision"), sales(("a", 3), ("a", 5), ("a", 7)), side) == [1, 2, 1]


def test_two_that_begin_together_overlap() -> None:
    side, at = rates(("a", 1, 0, None), ("a", 2, 5, None), ("a", 3, 5, None)), {"on": "at", "valid_from": "since"}
    with pytest.raises(DuplicateError, match=r"overlap: from .* on and from .* on"):
        run_in_chain(step(at=at), sales(("a", 7)), side)
    assert found(step(at=at, many="first", order="-revision"), sales(("a", 4), ("a", 7)), side) == [1, 3]


def test_days_and_times_without_a_zone_go_together() -> None:
    times = pa.array(["2026-01-04T23:59:00", "2026-01-05T00:00:00"]).cast(pa.timestamp("us"))
    main = pa.table({"k": ["a", "a"], "at": times})
    side = pa.table({"code": ["a", "a"], "rate": [1, 2], "day": [date(2026, 1, 1), date(2026, 1, 5)]})
    assert found(step(at={"on": "at", "valid_from": "day"}), main, side) == [1, 2]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (step(at={"on": "at"}), InvalidSettingsError, "`valid_from`"),
        (step(at={"on": "at", "valid_to": "until"}), InvalidSettingsError, "goes with `valid_from`"),
        (step(at={"on": "at", "valid_from": "since", "late": "drop"}), InvalidSettingsError, "goes with `retention`"),
        (step(at={"on": "at", "retention": "soon"}), InvalidSettingsError, "span of time"),
        (step(at={"on": "at", "retention": "0s"}), InvalidSettingsError, "longer than nothing"),
        (step(many="all"), InvalidSettingsError, "the one version that holds"),
        (step(order="rate"), InvalidPlanError, "several matches"),
        (step(at={"on": "when", "valid_from": "since"}), UnknownNameError, "no column 'when'"),
        (step(at={"on": "at", "valid_from": "begin"}), UnknownNameError, "no column 'begin'"),
        (step(at={"on": "at", "valid_from": "rate"}), InvalidPlanError, "no instant"),
        (step(at={"on": "plain", "valid_from": "since"}), InvalidPlanError, "cannot be compared with 'since'"),
        (step(at={"on": "fine", "valid_from": "since"}), InvalidPlanError, "nanoseconds"),
        (step(at={"on": "plain", "retention": "1d"}), InvalidPlanError, "no time zone"),
    ],
)
def test_what_cannot_work_is_refused_when_planning(settings: Row, error: type[Exception], words: str) -> None:
    main = SALES.append(pa.field("plain", pa.timestamp("us"))).append(pa.field("fine", pa.timestamp("ns", "UTC")))
    with pytest.raises(error, match=words):
        planned(settings, Dataset("a", main), Dataset("b", RATES))


def test_lineage_and_digest_tell_what_is_read() -> None:
    made = parse_step({"from": "a", **step()}, "steps[0]").operator
    inputs = [Dataset("a", SALES), Dataset("b", RATES)]
    assert made.reads(inputs) == {(0, "k"), (0, "at"), (1, "code"), (1, "since"), (1, "until")}
    assert made.lineage(inputs)["rate"] == {(1, "rate")}
    assert made.notes == ("looks up 'b' as of 'at', by its own versions",)
    plain = parse_step({"from": "a", "lookup": {"in": "b", "on": {"k": "code"}, "fields": ["rate"]}}, "steps[0]")
    assert '"at"' not in plain.operator.model_dump_json()


KEY = st.sampled_from(["a", "b", None])
HOUR = st.none() | st.integers(0, 12)
VERSIONS = st.lists(st.tuples(KEY, st.integers(0, 9), HOUR, HOUR), max_size=8)


def oracle(
    k: str | None, at: int | None, side: list[tuple[str | None, int, int | None, int | None]], ends: bool
) -> list[int]:
    """The rates that hold, the last given first."""
    if k is None or at is None:
        return []
    begins = sorted({since for code, _, since, _ in side if code == k and since is not None})
    made = []
    for code, rate, since, until in side:
        end = until if ends else next((b for b in begins if since is not None and b > since), None)
        if code == k and since is not None and since <= at and (end is None or at < end):
            made.append(rate)
    return made[::-1]


MANNER = st.tuples(st.sampled_from(["null", "quarantine", "drop"]), st.sampled_from(["error", "quarantine", "first"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(KEY, HOUR), max_size=10), VERSIONS, st.booleans(), MANNER, st.integers(1, 5))
def test_any_versions(
    main: list[tuple[str | None, int | None]], side: list[Any], ends: bool, manner: tuple[str, str], chunk: int
) -> None:
    missing, many = manner
    at = {"on": "at", "valid_from": "since"} | ({"valid_to": "until"} if ends else {})
    asked = step(at=at, missing=missing, many=many, **({"order": "-revision"} if many == "first" else {}))
    expected: list[int | None] = []
    codes: list[str] = []
    clash = False
    for k, when in main:
        holds = oracle(k, when, side, ends)
        clash = clash or len(holds) > 1
        if len(holds) > 1 and many == "quarantine":
            codes.append("lookup.many")
        elif holds:
            expected.append(holds[0])
        elif missing == "quarantine":
            codes.append("lookup.missing")
        elif missing == "null":
            expected.append(None)
    if clash and many == "error":
        with pytest.raises(DuplicateError, match="overlap"):
            run_in_chain(asked, sales(*main), rates(*side), chunk=chunk)
        return
    ran = run_in_chain(asked, sales(*main), rates(*side), chunk=chunk)
    assert ran.rows["rate"].to_pylist() == expected and ran.codes == codes


def test_many_versions_of_few_keys() -> None:
    """As rates of currencies are: each row meets one of thousands of versions."""
    chance = np.random.default_rng(7)
    begins = sorted(chance.choice(50_000, 6000, replace=False).tolist())
    side = rates(*(("a", n, begin, None) for n, begin in enumerate(begins)), ("b", -1, 100, None))
    asked = [("ab"[n % 2], int(at)) for n, at in enumerate(chance.integers(0, 50_000, 3000))]
    ran = run_in_chain(step(at={"on": "at", "valid_from": "since"}), sales(*asked), side, chunk=1000)
    expected = [
        (-1 if at >= 100 else None) if k == "b" else max((n for n, b in enumerate(begins) if b <= at), default=None)
        for k, at in asked[:300]
    ]
    assert ran.rows["rate"].to_pylist()[:300] == expected
