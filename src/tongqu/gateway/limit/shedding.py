"""Sheds load: as many requests at a time as the latency allows (additive increase, multiplicative decrease).

Each kind of request (an API) has its own idea of how fast it is when nothing stands in its way, so that slow APIs
beside fast ones are no sign of overload; what counts is how much slower than that requests have become.
"""

from __future__ import annotations

TOLERANCE = 3.0
"""Times slower than undisturbed that requests may be before the limit falls."""
FLOOR_SECONDS = 0.1
"""Answers faster than this are never a sign of overload."""
WINDOW = 0.2
"""Seconds after which the limit is looked at again."""
PATIENCE = 5
"""Windows in a row that must be slow before the limit falls: a machine that stood still for a moment is no overload."""
SAMPLES = 10
"""Answers that a window must hold to be judged by."""
KINDS = 500
"""Kinds whose undisturbed latency is remembered."""


class Shedder:
    """The limit of requests at a time, between `least` and `most`. For one event loop; `now` is monotonic seconds."""

    def __init__(self, most: int = 512, least: int = 16):
        self._least = min(least, most)
        self._most = most
        self._limit = float(most)
        self._busiest = 0
        self._since = 0.0
        self._slow = 0
        self._answers = 0
        self._bad = 0
        self._usual: dict[str, float] = {}
        self.running = 0
        """Requests being worked on."""
        self.shed = 0
        """Requests that were turned away."""

    @property
    def limit(self) -> int:
        """How many requests may run at a time now."""
        return int(self._limit)

    def enter(self, *, known: bool) -> bool:
        """Whether a request may begin; callers that showed no credentials are turned away at 80 % of the limit."""
        if self.full(known=known):
            self.shed += 1
            return False
        self.running += 1
        self._busiest = max(self._busiest, self.running)
        return True

    def full(self, *, known: bool) -> bool:
        """Whether no request may begin now; see `enter`."""
        return self.running >= (self._limit if known else max(1.0, self._limit * 0.8))

    def brief(self, requests: int, now: float) -> None:
        """So many requests were answered at once, none of them beside another one."""
        self._answers += requests
        self._busiest = max(self._busiest, self.running + 1)
        if now - self._since >= WINDOW and self._answers >= SAMPLES:
            self._judge(now)

    def leave(self, kind: str, seconds: float | None, now: float) -> None:
        """A request is over; `seconds` is how long it took, None where that says nothing (a stream, a WebSocket)."""
        self.running = max(0, self.running - 1)
        if seconds is not None:
            self._answers += 1
            self._slow += self._is_slow(kind, seconds)
        if now - self._since >= WINDOW and self._answers >= SAMPLES:
            self._judge(now)

    def _is_slow(self, kind: str, seconds: float) -> bool:
        usual = self._usual.get(kind)
        if usual is None:
            if len(self._usual) >= KINDS:
                self._usual.clear()
            self._usual[kind] = seconds
            return False
        # falls at once, rises slowly: a source that became slower for good is the new usual after some thousand answers
        self._usual[kind] = seconds if seconds < usual else usual + (seconds - usual) * 0.0005
        return seconds > FLOOR_SECONDS and seconds > usual * TOLERANCE

    def _judge(self, now: float) -> None:
        slow = self._slow * 2 > self._answers
        self._bad = self._bad + 1 if slow else 0
        if slow:
            if self._bad >= PATIENCE:
                self._limit = max(self._least, min(self._limit, self._busiest) * 0.9)
        elif self._busiest * 2 >= self._limit:
            self._limit = min(self._most, self._limit + max(1.0, self._limit * 0.05))
        elif self._limit < self._most:
            self._limit += 1
        self._since, self._slow, self._answers, self._busiest = now, 0, 0, self.running
