"""A load passes at the rate that its source bears: it grows while nobody feels it, and falls when somebody does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pyarrow as pa
import pytest

from tongqu.core.data import Batch
from tongqu.core.errors import CancelledError
from tongqu.core.feeling import QUESTIONS, Feeling, answered
from tongqu.engine.governing import Allowed, Valve, judged, paced, resting, slots
from tongqu.store.home import Home
from tongqu.store.jobs.budgets import Budgets, State
from tongqu.store.jobs.jobs import Jobs

WELL, ILL = Feeling(0.001), Feeling(0.004)
BUSY = State(rate=10_000, usual=0.001, felt=0.001, passing=9_000, holders=1, beats=30)


@pytest.fixture
def budgets(tmp_path: Path) -> Iterator[Budgets]:
    jobs = Jobs.open(Home(tmp_path))
    yield Budgets(jobs.database, "plant/")
    jobs.close()


def valve(budgets: Budgets, allowed: Allowed, holder: str = "a") -> Valve:
    return Valve(
        "erp", allowed, budgets, holder, lambda: datetime.now(UTC), lambda between: WELL if allowed.adapts else ILL
    )


def test_the_rate_grows_while_nobody_feels_it() -> None:
    found = judged(BUSY, WELL, 1.0, Allowed(adapts=True))
    assert found.rate > BUSY.rate
    assert found.pressure < 1.0


@pytest.mark.parametrize(
    ("feeling", "own"), [(ILL, 1.0), (Feeling(0.001, lag_seconds=60.0), 1.0), (WELL, 4.0)], ids=["slow", "lag", "own"]
)
def test_the_rate_falls_when_it_is_felt(feeling: Feeling, own: float) -> None:
    found = judged(BUSY, feeling, own, Allowed(adapts=True))
    assert found.rate < BUSY.rate
    assert found.pressure > 1.0


def test_a_system_that_is_slow_without_us_is_no_fault_of_ours() -> None:
    state = State()
    while resting(state):
        state = judged(state, ILL, 1.0, Allowed(adapts=True))
    assert state.usual == ILL.seconds
    assert judged(replace(state, passing=state.rate), ILL, 1.0, Allowed(adapts=True)).rate > state.rate


def test_after_a_cut_the_rate_comes_back_fast_and_then_feels_its_way() -> None:
    state = judged(replace(BUSY, rate=20_000), ILL, 1.0, Allowed(adapts=True))
    rates = []
    for _ in range(20):
        state = judged(replace(state, passing=state.rate), WELL, 1.0, Allowed(adapts=True))
        rates.append(state.rate)
    assert state.edge == 20_000
    assert rates[3] == 18_000, "nine tenths of where it was cut, in four looks"
    assert 18_000 < rates[-1] < 20_000, "and slowly from there"


def test_looks_that_differ_by_themselves_are_no_evidence() -> None:
    state = replace(BUSY, spread=0.0005)
    assert judged(state, Feeling(0.0015), 1.0, Allowed(adapts=True)).rate > state.rate
    assert judged(replace(state, spread=0.0), Feeling(0.0015), 1.0, Allowed(adapts=True)).rate < state.rate


def test_a_few_slow_answers_among_many_are_seen_and_one_of_them_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([at for n in range(QUESTIONS) for at in (n, n + (0.030 if n in (3, 9) else 0.001))])
    monkeypatch.setattr("tongqu.core.feeling.perf_counter", lambda: next(times))
    waits: list[int] = []
    assert answered(lambda: None, lambda: waits.append(1)) == pytest.approx((18 * 0.001 + 2 * 0.004) / 20)
    assert len(waits) == QUESTIONS


def test_where_nobody_shall_feel_it_few_rows_are_asked_for_at_once(budgets: Budgets) -> None:
    assert valve(budgets, Allowed(adapts=True)).chunk_rows == 1_000
    assert valve(budgets, Allowed(rate=5_000)).chunk_rows is None


def test_the_rate_never_exceeds_what_is_allowed() -> None:
    assert judged(BUSY, WELL, 1.0, Allowed(adapts=True, rate=10_050)).rate == 10_050


def test_rows_pass_at_the_rate(budgets: Budgets) -> None:
    one = valve(budgets, Allowed(rate=20_000))
    rows = pa.RecordBatch.from_pydict({"id": list(range(2_000))})
    began = monotonic()
    with slots([one], Event()):
        count = sum(batch.rows.num_rows for batch in paced(iter([Batch("t", rows, None)] * 5), [one], Event()))
    took = monotonic() - began
    one.close()
    assert count == 10_000
    assert took >= 0.4


def test_two_processes_share_the_rate_and_the_slots(budgets: Budgets) -> None:
    several = [valve(budgets, Allowed(splits=1, rate=1_000), holder) for holder in ("a", "b")]
    order, stop, held = [], Event(), Event()

    def second() -> None:
        held.wait(60)
        with slots([several[1]], stop):
            order.append("b")

    thread = Thread(target=second)
    thread.start()
    with slots([several[0]], stop):
        held.set()
        end = monotonic() + 60
        while budgets.state("erp").holders < 2:
            assert monotonic() < end
            Event().wait(0.02)
        order.append("a")
    thread.join(60)
    for one in several:
        one.close()
    assert order == ["a", "b"]
    assert budgets.state("erp") == State()


def test_in_a_quiet_time_nothing_begins(budgets: Budgets) -> None:
    one, stop = valve(budgets, Allowed(splits=1, quiet=lambda at: True)), Event()
    passed = Event()

    def move() -> None:
        with slots([one], stop):
            passed.set()

    thread = Thread(target=move)
    thread.start()
    end = monotonic() + 60
    while not budgets.state("erp").slots:
        assert monotonic() < end
        Event().wait(0.02)
    assert not passed.is_set()
    stop.set()
    thread.join(60)
    one.close()
    assert not thread.is_alive()


def test_who_waits_for_a_slot_hears_that_it_shall_stop(budgets: Budgets) -> None:
    one, two = (valve(budgets, Allowed(splits=1), holder) for holder in ("a", "b"))
    stop = Event()
    with slots([one], Event()):
        stop.set()
        with pytest.raises(CancelledError), slots([two], stop):
            raise AssertionError
    one.close()
    two.close()
