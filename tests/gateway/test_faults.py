"""What a caller hears of failures: their kind, and the field at fault where it may see it."""

from __future__ import annotations

from tongqu.core.errors import CastError, ExpressionError
from tongqu.gateway.faults import expected, naming, told


def test_a_value_that_cannot_be_given_is_told_with_its_field_if_the_caller_sees_it() -> None:
    shown = told(naming(CastError("97 is no date", field="made"), {"id", "made"}))
    assert (shown.code, shown.errors) == ("value.unfit", [{"parameter": "made", "code": "value.unfit"}])
    assert "97" not in shown.detail
    hidden = told(naming(CastError("97 is no date", field="born"), {"id", "made"}))
    assert (hidden.code, hidden.detail, hidden.errors) == ("value.unfit", "", [])
    assert told(CastError("97 is no date", field="made")).errors == []


def test_a_pattern_that_only_this_database_does_not_take_is_the_callers_fault() -> None:
    problem = told(ExpressionError("the pattern is no regular expression"))
    assert (problem.code, problem.kind.status) == ("value.invalid", 422)
    assert expected(problem)
