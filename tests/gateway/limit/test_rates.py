"""Rates are exact: so many requests, so many decrements, and never more in any window than was promised."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.gateway.limit.headers import exceeded, told
from tongqu.gateway.limit.rates import SECOND, Counted, Meter, Rate

RATES = st.builds(
    Rate, st.just("r"), st.integers(1, 50), st.sampled_from([1, 7, 60, 3600]), st.one_of(st.just(0), st.integers(1, 60))
)
STEPS = st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=80)


def test_every_request_is_one_decrement() -> None:
    meter, rate = Meter(), Rate("api", 600, 60)
    assert [meter.take([(rate, "mes")], now=5)[0].left for _ in range(600)] == list(range(599, -1, -1))
    refused = meter.take([(rate, "mes")], now=5)[0]
    assert (refused.allowed, refused.left, refused.wait) == (False, 0, 0.1)


def test_a_period_that_does_not_divide_evenly_loses_no_request() -> None:
    meter, rate = Meter(), Rate("api", 7, 60)
    assert [meter.hit(rate, "", 10**18) for _ in range(8)] == [0] * 7 + [-(-60 * SECOND // 7)]


def test_what_is_refused_is_not_counted() -> None:
    meter, rate = Meter(), Rate("api", 1, 1)
    assert meter.take([(rate, "a")], 0)[0].allowed
    assert not any(meter.take([(rate, "a")], now)[0].allowed for now in range(0, SECOND, SECOND // 50))
    assert meter.take([(rate, "a")], SECOND)[0].allowed


def test_several_scopes_are_taken_together_or_not_at_all() -> None:
    meter, wide, narrow = Meter(), Rate("client", 10, 60), Rate("api", 1, 60)
    assert all(one.allowed for one in meter.take([(wide, "mes"), (narrow, "mes x")], 0))
    refused = meter.take([(wide, "mes"), (narrow, "mes x")], 0)
    assert [(one.rate.name, one.allowed, one.left) for one in refused] == [("client", True, 9), ("api", False, 0)]


def test_what_was_given_back_was_never_taken() -> None:
    meter, rate = Meter(), Rate("address", 2, 60)
    for _ in range(20):
        assert meter.hit(rate, "10.0.0.1", 0) == 0
        meter.give_back(rate, "10.0.0.1")
    assert [meter.hit(rate, "10.0.0.1", 0) > 0 for _ in range(3)] == [False, False, True]


def test_the_key_that_was_silent_longest_is_forgotten() -> None:
    meter, rate = Meter(most=2), Rate("address", 1, 60)
    for key in ("a", "b", "c"):
        meter.hit(rate, key, 0)
    assert (len(meter), meter.forgotten) == (2, 1)
    assert meter.hit(rate, "a", 0) == 0
    assert meter.hit(rate, "c", 0) > 0


@settings(max_examples=60, deadline=None)
@given(rate=RATES, steps=STEPS)
def test_a_token_bucket_in_exact_fractions_decides_the_same(rate: Rate, steps: list[int]) -> None:
    meter, now = Meter(), 10**15
    tokens, last = Fraction(rate.burst), now
    for step in steps:
        now += step
        refilled = Fraction((now - last) * rate.requests, rate.seconds * SECOND)
        tokens, last = min(Fraction(rate.burst), tokens + refilled), now
        taken = meter.take([(rate, "k")], now)[0]
        assert taken.allowed == (tokens >= 1)
        tokens -= taken.allowed
        assert taken.left == int(tokens)


@settings(max_examples=60, deadline=None)
@given(rate=RATES, steps=STEPS)
def test_no_window_holds_more_than_burst_and_rate(rate: Rate, steps: list[int]) -> None:
    meter, now, passed = Meter(), 0, []
    for step in steps:
        now += step
        if meter.hit(rate, "k", now) == 0:
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            window = Fraction(passed[last] - passed[first], rate.seconds * SECOND)
            assert last - first + 1 <= rate.burst + window * rate.requests


@settings(max_examples=60, deadline=None)
@given(rate=RATES, steps=STEPS)
def test_who_waits_as_long_as_told_is_let_through(rate: Rate, steps: list[int]) -> None:
    meter, now = Meter(), 0
    for step in steps:
        now += step
        wait = meter.hit(rate, "k", now)
        if wait:
            assert meter.hit(rate, "k", now + wait - 1) > 0
            now += wait
            assert meter.hit(rate, "k", now) == 0


def test_headers_tell_policy_and_what_is_left() -> None:
    meter = Meter()
    taken = meter.take([(Rate("api", 600, 60, 20), "x"), (Rate("client", 1000, 3600), "x")], 0)
    assert told(taken, old=True) == [
        ("ratelimit-policy", '"api";q=600;w=60, "client";q=1000;w=3600'),
        ("ratelimit", '"api";r=19;t=1, "client";r=999;t=4'),
        ("ratelimit-limit", "20"),
        ("ratelimit-remaining", "19"),
        ("ratelimit-reset", "1"),
    ]


def test_a_refusal_says_when_to_come_again_and_which_policy_was_violated() -> None:
    meter, rate = Meter(), Rate("api", 2, 60, 1)
    meter.take([(rate, "x")], 0)
    problem = exceeded(meter.take([(rate, "x")], 0))
    assert problem.kind.status == 429
    assert dict(problem.headers)["retry-after"] == "30"
    assert problem.more["violated-policies"] == ["api"]
    assert problem.more["type"].endswith("#quota-exceeded")


@settings(max_examples=60)
@given(st.lists(RATES, min_size=1, max_size=3), STEPS)
def test_counting_briefly_tells_and_counts_the_same(rates: list[Rate], steps: list[int]) -> None:
    meter, other, now = Meter(), Meter(), 0
    wanted = [(rate, f"{at}") for at, rate in enumerate(rates)]
    brief = [Counted.of(rate, key) for rate, key in wanted]
    for step in steps:
        now += step
        taken = meter.take(wanted, now)
        expected = dict(told(taken))["ratelimit"] if all(one.allowed for one in taken) else None
        assert other.brief(brief, now) == expected
