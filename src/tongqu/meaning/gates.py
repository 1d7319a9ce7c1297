"""When a two-way sync may go one stage further, and when it must go one back: pure functions over what rounds found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STAGES = ("shadow", "one_way", "two_way")
"""Compare only; the master's changes are carried; everybody's are."""
_DAY = 86_400.0
_RECENT = 20
"""Rounds over which the rate of errors is taken."""


@dataclass(frozen=True)
class Gate:
    """What must hold. None: not asked."""

    clean_days: float | None = None
    differences: int | None = None
    p95_ms: float | None = None
    error_rate: float | None = None
    rounds: int = 1


@dataclass(frozen=True)
class Round:
    """What one round found. `differences`: records that still differ at its end; `at` in seconds since 1970."""

    at: float
    stage: str
    records: int
    differences: int
    errors: int
    p95_ms: float


@dataclass(frozen=True)
class Missed:
    """A condition that does not hold: its word, what was found, and what is asked."""

    what: str
    found: float
    asked: float


@dataclass(frozen=True)
class Standing:
    """How the gate to the next stage stands. `ready`: all that it asks holds. `blocked`: it was due at `due`, and
    `missed` keeps it shut. `early`: it is not due, by its days or its rounds. `last`: no stage comes after this one."""

    state: Literal["early", "ready", "blocked", "last"]
    due: float | None = None
    missed: tuple[Missed, ...] = ()


def standing(gate: Gate, rounds: Sequence[Round], stage: str, since: float, now: float) -> Standing:
    """How it stands at a moment; `rounds` are those of this stage, which began at `since`."""
    if stage == STAGES[-1]:
        return Standing("last")
    missed, due = tuple(missing(gate, rounds, since, now)), since + (gate.clean_days or 0.0) * _DAY
    if not missed:
        return Standing("ready", due)
    return Standing("blocked" if now >= due and len(rounds) >= gate.rounds else "early", due, missed)


def breaks(gate: Gate, rounds: Sequence[Round]) -> list[Missed]:
    """What the newest round breaks; `rounds` are those of this stage, the oldest first."""
    if not rounds:
        return []
    last, missed = rounds[-1], []
    if gate.differences is not None and last.differences > gate.differences:
        missed.append(Missed("differences", last.differences, gate.differences))
    if gate.p95_ms is not None and last.p95_ms > gate.p95_ms:
        missed.append(Missed("p95_ms", last.p95_ms, gate.p95_ms))
    if gate.error_rate is not None and (rate := error_rate(rounds)) > gate.error_rate:
        missed.append(Missed("error_rate", rate, gate.error_rate))
    return missed


def missing(gate: Gate, rounds: Sequence[Round], since: float, now: float) -> list[Missed]:
    """What keeps the gate to the next stage shut; empty: it may be opened. `since` is when this stage began."""
    missed = breaks(gate, rounds)
    if len(rounds) < gate.rounds:
        missed.append(Missed("rounds", len(rounds), gate.rounds))
    if gate.clean_days is not None:
        dirty = [rounds[n].at for n in range(len(rounds)) if _dirty(gate, rounds[n])]
        clean = (now - max([since, *dirty])) / _DAY
        if clean < gate.clean_days:
            missed.append(Missed("clean_days", round(max(clean, 0.0), 3), gate.clean_days))
    return missed


def error_rate(rounds: Sequence[Round]) -> float:
    """Errors per record that was touched, over the newest rounds."""
    recent = rounds[-_RECENT:]
    errors = sum(one.errors for one in recent)
    return errors / max(sum(one.records for one in recent), errors, 1)


def _dirty(gate: Gate, one: Round) -> bool:
    return one.errors > 0 or one.differences > (gate.differences or 0)
