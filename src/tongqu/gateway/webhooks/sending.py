"""One delivery: a signed POST that follows no redirect, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol

import tongqu
from tongqu.core.errors import RateLimitedError, TongquError
from tongqu.core.settings import Names
from tongqu.gateway.webhooks.signing import signature
from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.networks import networks
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.policy import Grant, Policy
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.settings import HttpSettings, Limits, Retry, Timeouts
from tongqu.kit.tls import Tls

ANSWER_BYTES = 65_536
_ANSWERS = (*range(300, 400), *range(400, 600))
Verdict = Literal["taken", "again", "slower", "gone", "held"]


@dataclass(frozen=True)
class Delivery:
    """A body under its id, to be signed by `keys` at `at` (Unix seconds)."""

    id: str
    body: bytes
    keys: Sequence[str]
    at: float
    trace: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the envelope puts beside the body."""


@dataclass(frozen=True)
class Answered:
    """What became of it; `held`: it was not called, since it asked for that not long ago. `wait` is what the receiver
    asks for in `Retry-After`, in seconds; `problem` is a code."""

    verdict: Verdict
    status: int = 0
    wait: float = 0.0
    problem: str = ""


class Sender(Protocol):
    """Delivers; called in threads."""

    def send(self, delivery: Delivery) -> Answered:
        """Make one attempt; never raises for what the receiver does."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class Receiving(Protocol):
    """Where deliveries go: a `WebhookEntry`, or what a caller asked for."""

    @property
    def url(self) -> str:
        """The address."""
        ...

    @property
    def seconds(self) -> float:
        """How long the other side may take."""
        ...

    @property
    def allow(self) -> Names:
        """Private networks that the address may resolve to."""
        ...

    @property
    def tls(self) -> Tls:
        """Certificates."""
        ...


class _Unvouched(Policy):
    """The rules of an address that a caller named: its own host is bound by them too."""

    def vouched(self, place: Place, grant: Grant) -> bool:
        """See Policy: nobody does."""
        return False


class HttpSender:
    """Delivers to one address: connections kept, addresses pinned, redirects never followed, answers cut. `grant` says
    who vouches for the address: the operator who wrote it down, or nobody where it came from a caller."""

    def __init__(self, entry: Receiving, clock: Clock | None = None, grant: Grant = Grant.OPERATOR):
        seconds = entry.seconds
        self._url = entry.url
        settings = HttpSettings(
            base_url=entry.url,
            tls=entry.tls,
            allow=entry.allow,
            cookies=False,
            timeouts=Timeouts(connect_seconds=min(10.0, seconds), read_seconds=seconds, call_seconds=seconds),
            retry=Retry(attempts=1, rest_failures=0),
            limits=Limits(answer_bytes=ANSWER_BYTES, patience_seconds=0, concurrency=8),
        )
        egress = Egress(policy=_Unvouched(allow=networks(entry.allow))) if grant is Grant.DATA else None
        self._http = Http(settings, egress=egress, clock=clock)
        self._seconds = seconds

    def send(self, delivery: Delivery) -> Answered:
        """See Sender."""
        timestamp = int(delivery.at)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"tongqu/{tongqu.__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(delivery.keys, delivery.id, timestamp, delivery.body),
        }
        headers |= delivery.headers
        if delivery.trace:
            headers["traceparent"] = delivery.trace
        call = Call("POST", self._url, headers=headers, body=delivery.body, seconds=self._seconds, accepts=_ANSWERS)
        try:
            reply = self._http.send(call)
        except RateLimitedError as error:
            return Answered("held", problem=error.code)
        except TongquError as error:
            return Answered("again", getattr(error, "status", 0) or 0, problem=error.code)
        return verdict(reply.status, reply.headers.get("retry-after", ""), delivery.at)

    def close(self) -> None:
        """Close connections."""
        self._http.close()


def verdict(status: int, retry_after: str, now: float) -> Answered:
    """What a status means: only 2xx took it; 410 wants no more; 429, 502, 504 want less."""
    if 200 <= status < 300:
        return Answered("taken", status)
    wait = _seconds(retry_after, now)
    if status == 410:
        return Answered("gone", status, problem="hook.gone")
    if status in (429, 502, 504):
        return Answered("slower", status, wait, "hook.busy")
    return Answered("again", status, wait, "hook.redirects" if 300 <= status < 400 else "hook.refused")


def _seconds(text: str, now: float) -> float:
    """`Retry-After` in seconds, at most a day."""
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 86_400))
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), 86_400.0)
    except (TypeError, ValueError):
        return 0.0
