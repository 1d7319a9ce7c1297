"""Asks a sink again after a lost connection, for what is harmless to ask twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tongqu.core.errors import TongquError
from tongqu.core.events import Emit, Retrying
from tongqu.engine.job import Limits, Surroundings

Given = TypeVar("Given")


@dataclass(frozen=True)
class Patience:
    """How long one stream of a run waits for a sink that was there before and has gone."""

    run: str
    stream: str
    limits: Limits
    around: Surroundings
    emit: Emit

    def asking(self, act: Callable[[], Given]) -> Given:
        """What `act` gives, tried again after retryable errors, later each time; raises the last one when the limits
        of the job are reached, or when stopping was asked for. `act` must be idempotent."""
        failures, since = 0, None
        while True:
            try:
                return act()
            except TongquError as error:
                failures += 1
                since = since or self.around.now()
                delay = min(0.2 * 2**failures, 5.0)
                waited = (self.around.now() - since).total_seconds()
                over = failures > self.limits.retries or waited > self.limits.retry_seconds
                if not error.retryable or over or self.around.wait(delay):
                    raise
                self.emit(Retrying(self.run, self.stream, "", error.message, failures, delay))
