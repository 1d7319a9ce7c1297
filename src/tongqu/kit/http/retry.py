"""Decides whether a call that went wrong is made again, and when."""

from __future__ import annotations

from enum import Enum
from threading import Lock

from tongqu.core.errors import (
    AuthError,
    CallRefusedError,
    ConnectError,
    NotFoundError,
    PeerFailedError,
    PrivilegeError,
    RateLimitedError,
    RestingError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.kit.http.call import Repeat
from tongqu.kit.http.settings import Retry

_RESERVE = 10.0


class Verdict(Enum):
    """What follows from an error."""

    RAISE = "raise"
    """The call had no effect and would fail again."""
    AGAIN = "again"
    """It is made again, if attempts are left."""
    UNKNOWN = "unknown"
    """It may have had its effect and must not be made again."""


def verdict(error: TongquError, repeat: Repeat, *, sent: bool, statuses: tuple[int, ...]) -> Verdict:
    """Judge an attempt's error; `sent` says whether anything of the call may have reached the peer."""
    if isinstance(error, RateLimitedError):
        return Verdict.AGAIN if error.status else Verdict.RAISE
    if isinstance(error, RestingError):
        return Verdict.RAISE
    if not sent:
        return Verdict.AGAIN if error.retryable else Verdict.RAISE
    if repeat is Repeat.NEVER and doubtful(error):
        return Verdict.UNKNOWN
    if isinstance(error, PeerFailedError):
        return Verdict.AGAIN if error.status in statuses else Verdict.RAISE
    return Verdict.AGAIN if error.retryable else Verdict.RAISE


def doubtful(error: TongquError) -> bool:
    """Whether a call that was sent may have had its effect although this error came back.

    A clear refusal (4xx, and redirects that say "not here") had none; a lost or unreadable answer, a 5xx or a
    "see there" (302, 303) leaves it open.
    """
    if isinstance(error, AuthError | PrivilegeError | NotFoundError | RateLimitedError):
        return False
    return not (isinstance(error, CallRefusedError) and error.status not in (302, 303))


def unknown(error: TongquError, what: str) -> UnknownOutcomeError:
    """The error for a call of which nobody knows whether it had its effect."""
    outcome = UnknownOutcomeError(
        f"{what} may have had its effect: {error.message}",
        hint="look in the system whether it did before the call is made again",
        path=error.path,
    )
    outcome.status = getattr(error, "status", 0)
    outcome.answer = getattr(error, "answer", b"")
    return outcome


class Budget:
    """Allows repeated calls as a share of all calls, so that a peer in trouble is not met with a multiple of them."""

    def __init__(self, share: float):
        self._share = share
        self._left = _RESERVE
        self._lock = Lock()

    def deposit(self) -> None:
        """A call was begun."""
        with self._lock:
            self._left = min(self._left + self._share, max(_RESERVE, 100 * self._share))

    def take(self) -> bool:
        """Whether one more call may be repeated."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


def pause(retry: Retry, attempt: int, chance: float) -> float:
    """Seconds to wait after attempt 1, 2, …: doubling, half of it by chance (0 to 1)."""
    full: float = min(retry.first_seconds * 2 ** (attempt - 1), retry.longest_seconds)
    return full * (0.5 + chance / 2)


def failure(error: TongquError) -> bool:
    """Whether an error speaks against the system itself (it cannot be reached or fails), not against the call."""
    return isinstance(error, ConnectError | PeerFailedError)
