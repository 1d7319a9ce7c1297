"""The limit of requests at a time follows the latency."""

from __future__ import annotations

from tongqu.gateway.limit.shedding import Shedder


def serve(shedder: Shedder, seconds: float, at: float, many: int = 20, kind: str = "fast") -> float:
    """Answer so many requests at a time, each in `seconds`; the instant after."""
    entered = sum(shedder.enter(known=True) for _ in range(many))
    for _ in range(entered):
        shedder.leave(kind, seconds, at + 0.3)
    return at + 0.3


def test_the_limit_falls_when_answers_become_slow_and_rises_when_they_recover() -> None:
    shedder, at = Shedder(most=100), 0.0
    at = serve(shedder, 0.03, at)
    for _ in range(12):
        at = serve(shedder, 0.5, at)
    assert shedder.limit == 16
    for _ in range(60):
        at = serve(shedder, 0.03, at)
    assert shedder.limit > 60


def test_a_moment_in_which_everything_stood_still_is_no_overload() -> None:
    shedder, at = Shedder(most=100), 0.0
    for _ in range(5):
        at = serve(shedder, 0.03, at)
        at = serve(shedder, 0.5, at)
        at = serve(shedder, 0.5, at)
    assert shedder.limit == 100


def test_a_slow_api_beside_a_fast_one_is_no_overload() -> None:
    shedder, at = Shedder(most=100), 0.0
    for _ in range(10):
        at = serve(shedder, 0.005, at, kind="fast")
        at = serve(shedder, 2.0, at, kind="slow")
    assert shedder.limit == 100


def test_what_is_over_the_limit_is_turned_away_and_unknown_callers_first() -> None:
    shedder = Shedder(most=10)
    assert [shedder.enter(known=False) for _ in range(9)] == [True] * 8 + [False]
    assert [shedder.enter(known=True) for _ in range(3)] == [True, True, False]
    assert shedder.shed == 2


def test_streams_tell_nothing_about_latency() -> None:
    shedder, at = Shedder(most=100), 0.0
    for _ in range(5):
        for _ in range(20):
            shedder.enter(known=True)
            shedder.leave("live", None, at)
        at += 1
    assert (shedder.limit, shedder.running) == (100, 0)
