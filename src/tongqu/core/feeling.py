"""How a system says that it has too much to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Feeling:
    """One look at a system: how long a small question took, and by how much its replicas lag (None: it has none that
    can be seen, or does not tell)."""

    seconds: float
    lag_seconds: float | None = None


@runtime_checkable
class Felt(Protocol):
    """A source that can be asked how it does."""

    def feel(self) -> Feeling:
        """Ask a few small questions, over a connection that is used for nothing else, and give how long the slower ones
        of them took. Costs the system a few milliseconds of work at most. Raises ConnectorError."""
        ...
