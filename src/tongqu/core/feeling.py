"""How a system says that it has too much to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, runtime_checkable

QUESTIONS = 20
"""So many small questions are asked in one look."""
_CLIPPED = 4.0


@dataclass(frozen=True)
class Feeling:
    """One look at a system: how long a small question took, and by how much its replicas lag (None: it has none that
    can be seen, or does not tell)."""

    seconds: float
    lag_seconds: float | None = None


STEADY = Feeling(0.001)
"""Of a system that cannot be asked: it is always well."""


@runtime_checkable
class Felt(Protocol):
    """A source that can be asked how it does."""

    def feel(self, between: Callable[[], object] | None = None) -> Feeling:
        """Ask QUESTIONS small questions, over a connection that is used for nothing else, with a call of `between`
        (None: at once) after each. Costs the system a few milliseconds of work at most. Raises ConnectorError."""
        ...


def answered(ask: Callable[[], object], between: Callable[[], object] | None) -> float:
    """The seconds that a small question takes: the mean of QUESTIONS, where none counts for more than four times the
    middle one.

    Who is kept waiting by a load is kept waiting now and then, not always: a mean sees it where the middle and the
    quartiles do not, and questions that stand apart in time see more of what users see than a burst of them does.
    """
    took = []
    for _ in range(QUESTIONS):
        began = perf_counter()
        ask()
        took.append(perf_counter() - began)
        if between is not None:
            between()
    most = sorted(took)[QUESTIONS // 2] * _CLIPPED
    return sum(min(one, most) for one in took) / len(took)
