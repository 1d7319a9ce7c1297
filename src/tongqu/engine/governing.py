"""Keeps a load from being felt by those who use its source: how many splits at once, and how many rows a second.

The rate follows the system by additive increase and multiplicative decrease (Chiu and Jain 1989): it grows while small
questions are answered as fast as without us, and falls when they are not, or when replicas lag. It comes back fast to
near where it was cut last, and from there only feels its way (as CUBIC does, Ha et al. 2008). How fast questions are
answered without us is looked at again and again, while everybody holds still for two seconds (as BBR probes, Cardwell
et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event, Lock, Thread
from time import monotonic
from typing import TypeVar

from tongqu.core.data import Batch, Bytes
from tongqu.core.errors import CancelledError, TongquError
from tongqu.core.feeling import QUESTIONS, Feeling
from tongqu.store.jobs.budgets import Budgets, State

BEAT = 0.5
"""Seconds between two looks."""
_STEP = 0.2
_FIRST = 5_000.0
"""Rows a second to begin with, where nobody knows what the system stands."""
_LEAST = 500.0
"""Rows a second that are always let through: a load must come to its end."""
_SHARE, _FEELING = 1.05, 1.005
"""How the rate grows far from where it was cut last, and near it."""
_CUT, _NEAR = 0.7, 0.9
_DOUBT = 0.5
"""What looks differ by from each other is no evidence: so much of it is tolerated on top."""
_RANGE = 1_000
"""Rows that a system is asked for at once where its users shall not feel it: longer reads come in bursts."""
_ROUND, _STILL = 60, 4
"""Of so many looks so many are made while everybody holds still."""
_SLOW = 2.5
"""Our own reads may take so many times as long a row as the fastest ones did."""
_WIDTH = 100.0
"""Bytes a row is thought to have before any was counted."""
Item = TypeVar("Item", Batch, Bytes)


@dataclass(frozen=True)
class Allowed:
    """What a connection is willing to bear. None: no bound."""

    splits: int | None = None
    rate: float | None = None
    adapts: bool = False
    latency: float = 1.1
    """Small questions may take so many times as long as without us."""
    lag_seconds: float = 10.0
    quiet: Callable[[datetime], bool] = lambda at: False
    """Whether nothing may be read at an instant."""


def resting(state: State) -> bool:
    """Whether everybody holds still, so that it can be seen how the system does without us."""
    return state.beats % _ROUND < _STILL


def judged(state: State, feeling: Feeling, own: float, allowed: Allowed) -> State:
    """The state after one more look. `own` is how many times as long as the fastest our own reads take a row."""
    usual, felt, rate, beat = state.usual, state.felt, state.rate or _FIRST, state.beats % _ROUND
    if beat < _STILL:
        if beat >= _STILL // 2:  # what was under way has come to its end
            usual = feeling.seconds if not usual else usual + (feeling.seconds - usual) * 0.3
        return replace(state, rate=min(rate, allowed.rate or rate), usual=usual, felt=usual, beats=state.beats + 1)
    spread = state.spread + (abs(feeling.seconds - felt) - state.spread) * 0.1
    felt += (feeling.seconds - felt) * 0.3
    tolerated = usual * allowed.latency + spread * _DOUBT
    pressure = max(felt / tolerated, (feeling.lag_seconds or 0.0) / allowed.lag_seconds, own / _SLOW)
    edge = state.edge
    if pressure > 1.0:
        edge, rate, felt = rate, max(rate * _CUT, _LEAST), usual  # the next cut needs evidence of its own
    elif state.passing > rate * 0.5:
        near = edge * _NEAR
        rate = rate * _FEELING if edge and rate >= near else min(rate * _SHARE + _LEAST, near or math.inf)
    rate = min(rate, allowed.rate or rate)
    return replace(
        state, rate=rate, edge=edge, felt=felt, spread=spread, pressure=pressure, beats=state.beats + 1
    )  # fmt: skip


@dataclass
class Valve:
    """One connection's budget, for one process. Safe for several threads; close it."""

    name: str
    allowed: Allowed
    budgets: Budgets
    holder: str
    now: Callable[[], datetime]
    feel: Callable[[Callable[[], object]], Feeling] | None = None
    """Looks at the system; what it is given is called between two questions."""
    _rate: float | None = None
    _quiet: bool = False
    _still: bool = False
    _passed: int = 0
    _free: float = 0.0
    _own: float = 1.0
    _best: float = 0.0
    _lock: Lock = field(default_factory=Lock)
    _over: Event = field(default_factory=Event)
    _ready: Event = field(default_factory=Event)
    _thread: Thread | None = None

    @contextmanager
    def slot(self, stop: Event) -> Iterator[None]:
        """Hold one of the connection's slots, waited for if all are taken. Raises CancelledError when stopped."""
        self._begin()
        most, number = self.allowed.splits, None
        while most is not None and (number := self.budgets.take(self.name, self.holder, most)) is None:
            _wait(_STEP, stop, f"a slot of {self.name!r}")
        try:
            yield
        finally:
            if number is not None:
                with suppress(TongquError):  # without a sign of life it is free soon
                    self.budgets.give_back(self.name, self.holder, number)

    def pace(self, rows: float, stop: Event) -> None:
        """Let rows pass: return when it is time for the next ones, or when stopping was asked for."""
        with self._lock:
            self._passed += round(rows)
            rate = self._rate
            if rate is None:
                return
            self._free = max(self._free, monotonic()) + rows / rate
        while not stop.is_set() and not self._over.is_set():
            left = self._free - monotonic()
            if left <= 0 and not self._still:
                return
            stop.wait(min(left, _STEP) if left > 0 else _STEP)

    def rest(self, stop: Event) -> None:
        """Between two chunks: return when it is no quiet time, or when stopping was asked for."""
        while self._quiet and not self._over.is_set() and not stop.wait(_STEP) and not stop.is_set():
            continue

    def took(self, rows: int, seconds: float) -> None:
        """Tell how long a read of ours took."""
        if rows < 1_000:
            return
        each = seconds / rows
        with self._lock:
            self._best = min(self._best or each, each)
            self._own += (each / max(self._best, 1e-9) - self._own) * 0.3

    def close(self) -> None:
        """Stop looking, and leave the budget to others; may be called twice."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            with suppress(TongquError):
                self.budgets.leave(self.name, self.holder)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._look, name=f"tongqu-valve-{self.name}", daemon=True)
                self._thread.start()
        self._ready.wait()

    @property
    def chunk_rows(self) -> int | None:
        """The most rows to ask for at once; None: any number."""
        return _RANGE if self.allowed.adapts else None

    def _look(self) -> None:
        told, since = 0, monotonic()
        while True:
            with self._lock:
                passed = self._passed
            now = monotonic()
            self._quiet = self.allowed.quiet(self.now())
            try:
                self._beat((passed - told) / max(now - since, 0.01))
            except TongquError:  # nobody can be asked: what was judged last holds
                self._rate = self._rate if self._rate is not None else self.allowed.rate
            told, since = passed, now
            self._ready.set()
            if self._over.wait(max(since + BEAT - monotonic(), 0.01)):
                return

    def _between(self) -> None:
        """Questions are spread over most of a beat: they shall see what users see, and be no burst themselves."""
        self._over.wait(BEAT * 0.8 / QUESTIONS)

    def _beat(self, passing: float) -> None:
        state, allowed = self.budgets.beat(self.name, self.holder, passing), self.allowed
        if allowed.adapts and self.feel is not None and self.budgets.turn(self.name, BEAT * 0.9):
            state = judged(state, self.feel(self._between), self._own, allowed)
            self.budgets.judge(self.name, state)
        rate = state.rate or allowed.rate if allowed.adapts else allowed.rate
        with self._lock:
            self._rate = None if rate is None else rate / max(state.holders, 1)
            self._still = allowed.adapts and resting(state)


@dataclass
class Valves:
    """The valves of one run, and what is closed with them."""

    several: Sequence[Valve] = ()
    closes: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Close all."""
        for valve in self.several:
            valve.close()
        self.closes()


@contextmanager
def slots(valves: Iterable[Valve], stop: Event) -> Iterator[None]:
    """Hold a slot of each, always in the same order, when no quiet time is any more."""
    with ExitStack() as stack:
        for valve in sorted(valves, key=lambda one: one.name):
            stack.enter_context(valve.slot(stop))
            valve.rest(stop)
        yield


def paced(batches: Iterator[Batch], valves: Iterable[Valve], stop: Event) -> Iterator[Batch]:
    """The same batches, as fast as the valves let them through."""
    several = list(valves)
    began = monotonic()
    for batch in batches:
        for valve in several:
            valve.took(batch.rows.num_rows, monotonic() - began)
        yield batch
        for valve in several:
            valve.pace(batch.rows.num_rows, stop)
        began = monotonic()


def paced_bytes(pieces: Iterator[Bytes], valves: Iterable[Valve], stop: Event) -> Iterator[Bytes]:
    """The same pieces, whose blocks pass as fast as the valves let them through."""
    several, width = list(valves), _WIDTH
    for piece in pieces:
        size = 0

        def through(blocks: Iterator[bytes | memoryview], width: float = width) -> Iterator[bytes | memoryview]:
            nonlocal size
            for block in blocks:
                size += len(block)
                yield block
                for valve in several:
                    valve.pace(len(block) / width, stop)

        piece.chunks = through(piece.chunks)
        yield piece
        width = size / max(piece.rows(), 1) or width


def _wait(seconds: float, stop: Event, what: str) -> None:
    if stop.is_set() or stop.wait(seconds):
        raise CancelledError(f"stopped while waiting for {what}")
