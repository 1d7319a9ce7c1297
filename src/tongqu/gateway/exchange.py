"""What every protocol of the gateway speaks: a request, a reply, and the notes that audit and metrics are made from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from tongqu.core.policy import Actor

if TYPE_CHECKING:
    from tongqu.gateway.publication import Publication

Headers = list[tuple[str, str]]
_FEW = 100
"""Parts of a query that are told apart without looking for more."""


class Held(Protocol):
    """An answer that a cache holds."""

    @property
    def timed(self) -> bool:
        """Whether what may be given depends on the time of day."""
        ...

    def age(self) -> float | None:
        """Its age in seconds, None where it may be given no more without looking further; after `look`."""
        ...

    def look(self) -> bool:
        """Learn what changed; False where that cannot be learnt."""
        ...


@dataclass(frozen=True, slots=True)
class Proof:
    """Credentials that were found good: they mean one caller until `until` (Unix seconds) as long as the revision of
    all rights is this one. `used` notes that they were used."""

    revision: int
    until: float
    used: Callable[[], None]


@dataclass(slots=True)
class Notes:
    """What a call turned out to be; filled by whoever learns it, read once by audit, call log and metrics.

    No values of rows are ever noted. `reason` is the code of a refusal; `fields` what was given, `masks` which of them
    were masked; `subjects` may hold keyed digests of persons whose rows were read, for the breach query.
    """

    api: str = ""
    version: str = ""
    action: str = ""
    rows: int = 0
    bytes: int = 0
    fields: Sequence[str] = ()
    masks: Sequence[str] = ()
    policy: str = ""
    cache: str = ""
    reason: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    held: Held | None = None
    """Where the cache holds the one answer that was given, if it held it."""


@dataclass(slots=True)
class Request:
    """One request, whatever server carried it.

    `path` is percent-decoded once and normalised (no `//`, `.` or `..` segments ever reach a handler), `query` is raw.
    `headers` have lower-case names; a name that came twice is joined with `, `, except for those the gate refuses.
    `address` is the caller's address after the rules for trusted proxies. `id` is unique and goes into every answer;
    `trace` is the W3C trace id. `body(limit)` reads the body once and raises Problem `body.too_large`.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    address: str
    id: str
    trace: str
    began: float
    body: Callable[[int], Awaitable[bytes]]
    publication: Publication
    scheme: str = "http"
    host: str = ""
    certificate: bytes | None = None
    """The client's certificate (DER), if it showed one."""
    actor: Actor = field(default_factory=Actor.nobody)
    notes: Notes = field(default_factory=Notes)
    language: str = "en"
    """`zh` or `en`, from Accept-Language."""
    target: str = ""
    """The path as it came, percent-encoded: tells a comma or slash inside a key from one between."""
    proof: Proof | None = None
    """How long the same credentials mean the same caller; None: who knows."""

    def pairs(self) -> list[tuple[str, str]]:
        """The query's names and values, decoded, in order."""
        query = self.query
        if "%" in query or "+" in query or query.count("&") > _FEW:
            return parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
        parts = [part.partition("=") for part in query.split("&") if part]
        return [(name, value) for name, _, value in parts]


@dataclass(slots=True)
class Reply:
    """One answer. `body` is bytes, or an iterator of bytes that is closed when the caller leaves."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""

    def header(self, name: str) -> str:
        """The first value of a header, empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


class Handler(Protocol):
    """A protocol of the gateway: answers a request whose caller is already known and within limits."""

    async def handle(self, request: Request) -> Reply:
        """The answer; raises `gateway.problems.Problem` for what is refused, nothing else on purpose."""
        ...


class Talker(Protocol):
    """A handler that also speaks WebSocket."""

    async def talk(self, request: Request, socket: Socket) -> None:
        """Hold a conversation until it returns; raises Problem before `socket.accept` for what is refused."""
        ...


class Socket(Protocol):
    """A WebSocket after its handshake was asked for; text frames only."""

    async def accept(self, protocol: str = "") -> None:
        """Complete the handshake."""
        ...

    async def receive(self) -> str | None:
        """The next message; None when the caller has left."""
        ...

    async def send(self, text: str) -> None:
        """Send one message; raises ConnectionError when the caller has left. Waits while the caller is slow."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye with an RFC 6455 code."""
        ...
