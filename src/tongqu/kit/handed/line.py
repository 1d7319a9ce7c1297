"""One connection to a broker that hands messages out: what a protocol has to bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.kit.remote.effect import Outcome

KEY, ORIGIN, RUN, ID = "tongqu-key", "tongqu-origin", "tongqu-run", "tongqu-id"
"""Headers of messages that are written: the key of the row as JSON, the sync it comes of, so that loops can be seen,
its run, and what stays the same when it is sent again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, whatever protocol brings it. `headers` are its writer's, as text; `at` is when it wrote it
    (microseconds since 1970)."""

    body: bytes
    id: str | None = None
    to: str = ""
    kind: str = ""
    """The content type."""
    headers: Mapping[str, str] = field(default_factory=dict)
    at: int | None = None
    redelivered: bool = False
    tag: Any = None
    """What the protocol acknowledges it by."""


class Line(ABC):
    """One connection, used by one thread at a time. Raises ConnectError (retryable) for a lost one, AuthError,
    PrivilegeError, NotFoundError."""

    where: str
    product: str
    """What the server calls itself."""

    @property
    @abstractmethod
    def secured(self) -> str:
        """The version of TLS; empty without."""

    @abstractmethod
    def consume(self, name: str, address: str, most: int) -> None:
        """Have messages of a queue come, called `name`: at most so many that are not settled."""

    @abstractmethod
    def next(self, seconds: float) -> tuple[str, Letter] | None:
        """The next message and whose it is; None if none comes in so many seconds."""

    @abstractmethod
    def settle(self, tag: Any, taken: bool) -> None:
        """Note that a message is durable here, or is refused; `flush` tells the server."""

    @abstractmethod
    def send(self, address: str, letter: Letter, told: Callable[[Outcome], None]) -> None:
        """Send a durable message; `told` hears what became of it, while `flush` or `answer` runs."""

    @abstractmethod
    def flush(self) -> None:
        """Send what is noted."""

    @abstractmethod
    def answer(self, seconds: float) -> bool:
        """Wait for one thing that the server says and handle it; False if it says nothing in so many seconds."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection; may be called twice. What is not settled is handed out again."""


Connect = Callable[[], Line]
