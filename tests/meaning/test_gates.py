"""When a two-way sync may go one stage further, and when it must go back."""

from __future__ import annotations

from tongqu.meaning.gates import Gate, Round, breaks, missing

DAY = 86_400.0


def one(at: float, differences: int = 0, errors: int = 0, p95_ms: float = 10.0) -> Round:
    return Round(at, "one_way", 100, differences, errors, p95_ms)


def words(gate: Gate, rounds: list[Round], now: float) -> list[str]:
    return [missed.what for missed in missing(gate, rounds, 0.0, now)]


def test_days_are_clean_from_the_last_difference_or_error() -> None:
    gate = Gate(clean_days=3)
    assert words(gate, [one(DAY)], 2 * DAY) == ["clean_days"]
    assert words(gate, [one(DAY)], 3 * DAY) == []
    assert words(gate, [one(DAY, differences=1), one(2 * DAY)], 3 * DAY) == ["clean_days"]
    assert words(gate, [one(DAY, errors=1), one(2 * DAY)], 4 * DAY) == []


def test_a_gate_asks_for_rounds_and_for_what_they_found() -> None:
    gate = Gate(differences=0, p95_ms=100, error_rate=0.01, rounds=2)
    assert words(gate, [], 1.0) == ["rounds"]
    assert words(gate, [one(1, 5), one(2, 5, 3, 200.0)], 3.0) == ["differences", "p95_ms", "error_rate"]
    assert words(gate, [one(1), one(2)], 3.0) == []


def test_only_what_the_newest_round_measured_shuts_a_gate() -> None:
    gate = Gate(differences=0)
    assert breaks(gate, [one(1, 5), one(2)]) == []
    assert [missed.what for missed in breaks(gate, [one(1), one(2, 5)])] == ["differences"]
    assert breaks(Gate(), [one(1, 5, 5, 1e9)]) == []
