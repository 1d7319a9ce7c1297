"""How long changes took from their commit at the source until they could be seen in the sink."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.log import AT

_KEPT = 100_000


class Latency:
    """The latencies of the last 100,000 changes, and the longest of all; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._parts: deque[Any] = deque()
        self._kept = 0
        self._longest = 0.0
        self.newest: float | None = None
        """When the newest change that can be seen was committed at the source, in seconds since 1970."""

    def saw(self, commits: list[Any], now: datetime) -> None:
        """These changes can be seen now; arrays of instants in microseconds since 1970."""
        if not commits:
            return
        micros = np.concatenate(commits) if len(commits) > 1 else commits[0]
        if not len(micros):
            return
        took = np.maximum((now.timestamp() * 1e6 - micros) / 1e3, 0.0)
        with self._lock:
            self.newest = float(micros.max()) / 1e6
            self._longest = max(self._longest, float(took.max()))
            self._parts.append(took[-_KEPT:])
            self._kept += len(self._parts[-1])
            while self._kept - len(self._parts[0]) >= _KEPT:
                self._kept -= len(self._parts.popleft())

    def to_json(self) -> dict[str, float] | None:
        """`p50 p95 p99 max` in milliseconds; None if no change told when it was committed."""
        with self._lock:
            if not self._kept:
                return None
            took = np.concatenate(list(self._parts))
            p50, p95, p99 = (round(float(value), 1) for value in np.percentile(took, (50, 95, 99)))
            return {"p50": p50, "p95": p95, "p99": p99, "max": round(self._longest, 1)}


def commits(rows: pa.Table) -> Any | None:
    """When each of these changes was committed, in microseconds since 1970; None where the log does not tell."""
    if AT not in rows.schema.names:
        return None
    at: Any = rows.column(AT)
    if at.null_count:
        at = at.drop_null()
    return at.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()


def since(at: float | None) -> float | None:
    """Seconds since an instant."""
    return None if at is None else max(0.0, datetime.now(UTC).timestamp() - at)
