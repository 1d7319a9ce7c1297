"""Rules about rows and datasets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.meaning.dataset_rules import (
    Freshness,
    RowRule,
    Volume,
    comparable,
    newest_of,
    row_faults,
    span,
    stale,
    unusual,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30 min", 1800), ("36h", 129_600), ("2 days", 172_800), ("1 Week", 604_800), ("90s", 90)]
)
def test_times_are_written_as_people_do(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "3", "-1 h", "1 fortnight"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettingsError, match="no time"):
        Freshness.parse({"field": "at", "within": text})


def test_the_newest_row_has_an_age() -> None:
    rule = Freshness(field="at", within="36 h", severity="error")
    assert stale(rule, "2026-03-01T01:00:00+00:00", NOW) is None
    old = stale(rule, "2026-02-28T01:00:00+00:00", NOW)
    assert old is not None
    assert (old.code, old.error) == ("check.freshness", True)
    assert "2.5 days old" in old.message
    assert stale(rule, None, NOW) is not None


@pytest.mark.parametrize(
    ("column", "newest"),
    [
        (pa.array([0, 1_500_000, None], pa.timestamp("us", "UTC")), "1970-01-01T00:00:01.500000+00:00"),
        (pa.array([1], pa.timestamp("s", "Asia/Shanghai")), "1970-01-01T00:00:01.000000+00:00"),
        (pa.array([1, 0], pa.date32()), "1970-01-02T00:00:00.000000+00:00"),
        (pa.array([None], pa.timestamp("ns")), None),
    ],
)
def test_the_newest_value_is_told_in_utc(column: pa.Array[Any], newest: str | None) -> None:
    assert newest_of(column) == newest


def test_volume_is_held_to_numbers_and_to_history() -> None:
    assert unusual(Volume(min=10), 10, []) is None
    assert unusual(Volume(max=10), 11, []) is not None
    rule = Volume(change="50%", last=3)
    assert unusual(rule, 5, []) is None
    assert unusual(rule, 50, [100, 100, 1000, 1]) is None
    found = unusual(rule, 49, [100, 100, 1000, 1])
    assert found is not None
    assert "the median of the last 3 runs is 100" in found.message


@pytest.mark.parametrize("values", [{}, {"min": 3, "max": 1}, {"change": "half"}, {"min": -1}])
def test_a_volume_that_limits_nothing_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidSettingsError):
        Volume.parse(values)


def test_a_row_rule_that_does_not_fit_is_refused_when_planning() -> None:
    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(InvalidPlanError, match="the rule 'order' does not fit"):
        row_faults([RowRule(name="order", expression="a < b")], schema)
    with pytest.raises(InvalidSettingsError, match="cannot parse"):
        RowRule.parse({"name": "order", "expression": "a <"})


def test_only_values_of_one_kind_can_refer_to_each_other() -> None:
    assert comparable(pa.int32(), pa.decimal128(5, 2))
    assert comparable(pa.string(), pa.large_string())
    assert not comparable(pa.int32(), pa.string())
    assert not comparable(pa.timestamp("us"), pa.timestamp("us", "UTC"))
