"""Rules as conditions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.meaning.rules import Rule, faults


def codes(rule: dict[str, Any], kind: pa.DataType) -> list[str]:
    dataset = Dataset("t", pa.schema([pa.field("v", kind)]))
    return [fault.code for fault in faults({"v": Rule.parse(rule)}, dataset)]


def test_rules_come_in_a_fixed_order() -> None:
    rule = {"enum": ["a"], "pattern": "a", "required": True, "type": "date", "min": "2026-01-01"}
    assert codes(rule, pa.string()) == [
        "check.required", "check.type", "check.pattern", "check.range", "check.enum",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"pattern": "a"}, pa.int64()),
        ({"min": 0}, pa.string()),
        ({"enum": ["a"]}, pa.int64()),
        ({"max": "soon"}, pa.date32()),
    ],
)
def test_rule_that_does_not_fit_is_refused_when_planning(rule: dict[str, Any], kind: pa.DataType) -> None:
    with pytest.raises(InvalidPlanError, match="does not fit field 'v'"):
        codes(rule, kind)


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="no regular expression"):
        codes({"pattern": "("}, pa.string())


def test_unknown_type_is_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="unknown type"):
        Rule.parse({"type": "thing"})


def test_float_range_refuses_nan() -> None:
    assert codes({"min": 0}, pa.float64()) == ["check.range", "check.range"]


def test_limits_keep_their_digits() -> None:
    dataset = Dataset("t", pa.schema([pa.field("v", pa.decimal128(12, 3))]))
    (fault,) = faults({"v": Rule(max=Decimal("500.125"))}, dataset)
    assert "500.125" in fault.condition.sql("duckdb")
