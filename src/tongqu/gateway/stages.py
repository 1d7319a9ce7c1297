"""The stages that every request passes, whatever its protocol: gate, identity, admission, and the watch at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.publication import Api

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Head:
    """What is known of a request before its body: judged by the gate before anything of it is decoded.

    `target` is the path as it came, still percent-encoded; `query` what stands behind `?`, raw. `headers` have
    lower-case names; a name that came twice is joined with `, `. `pairs` is how many header lines there were, `size`
    their bytes. `peer` is the address of the other end of the connection. The gate sets `address`, the caller's address
    after the rules for trusted proxies, which is the peer's until then; `scheme` and `host` follow the same rules.
    """

    method: str
    target: str
    query: str
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    peer: str = ""
    address: str = ""
    scheme: str = "http"
    host: str = ""
    pairs: int = 0
    size: int = 0
    certificate: bytes | None = None
    raw: bytes = b""
    """All bytes of the request, where it is nothing but this head and its answer leaves the connection open."""
    source: str = ""
    """Where the connection comes from, and how."""


class Gate(Protocol):
    """The first look at a request: synchronous and cheap, before its body is read or anything is parsed."""

    def refuse(self, head: Head) -> Reply | None:
        """A refusal, or None; sets `head.address`, `head.scheme` and `head.host` from trusted proxies' headers."""
        ...


class Identify(Protocol):
    """Finds out who asks."""

    async def actor(self, request: Request) -> Actor:
        """The caller; `Actor.nobody()` without credentials; raises Problem `auth.*` for bad ones."""
        ...


class Ticket(Protocol):
    """A request that was admitted."""

    @property
    def headers(self) -> Headers:
        """What the answer tells about limits."""
        ...

    def close(self, *, measured: bool = True) -> None:
        """The request is over; may be called twice. `measured` False: how long it took says nothing about load."""
        ...


class Admission(Protocol):
    """Limits that need to know the caller."""

    async def admit(self, request: Request, api: Api | None) -> Ticket:
        """Let the request in; raises Problem `limit.exceeded` or `overloaded`. Waits only for limits in Redis."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """An admission that knows requests which use several APIs."""

    async def share(
        self, request: Request, api: Api, texts: Sequence[tuple[str, str]], cost: int = 1, first: bool = True
    ) -> Ticket:
        """Let a request that was admitted use one more API, asking it for `texts` under these names by so many
        questions; the `first` API of a request, or a further one. Raises Problem."""
        ...


class Standing(Protocol):
    """What lets the same caller ask the same again."""

    def again(self) -> str | None:
        """Count one more request, which is answered at once: what `RateLimit` tells. None where it may be refused:
        then nothing was counted."""
        ...

    def over(self, requests: int) -> None:
        """So many were let in and are answered."""
        ...


@runtime_checkable
class Readmitting(Protocol):
    """An admission that lets the same request in again without a detour."""

    @property
    def ready(self) -> bool:
        """Whether anything may be let in now."""
        ...

    def standing(self, request: Request, api: Api) -> Standing | None:
        """What lets in a request like this one that was admitted; None where that cannot be told at once."""
        ...


Call = tuple[float, str, str]
"""A call that was like one before: how many seconds it took, its id and its trace."""
Told = Callable[[Sequence[Call]], None]


class Watch(Protocol):
    """Is told of every answer: audit, call log, metrics."""

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """Note it; cheap, never raises, never blocks."""
        ...


@runtime_checkable
class Repeating(Protocol):
    """A watch that can be told of many calls that are like one that it saw."""

    def repeated(self, request: Request, reply: Reply) -> Told | None:
        """Whom to tell of calls with the same answer, which then is as if it `saw` each of them; None where
        each must be seen."""
        ...


class Pretending(Protocol):
    """Gives made-up rows to those who want them or may see no others."""

    def instead(self, request: Request) -> None:
        """Put a made-up publication into the request of such a caller, and note it as `mock`; cheap for all others."""
        ...

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """Is told how long each call took."""
        ...


class OpenGate:
    """Refuses nobody."""

    def refuse(self, head: Head) -> Reply | None:
        """None."""
        del head
        return None


class Nobody:
    """Knows nobody."""

    async def actor(self, request: Request) -> Actor:
        """Anonymous, from the request's address."""
        return Actor.nobody(request.address)


@dataclass(frozen=True, slots=True)
class Pass:
    """A ticket that holds nothing."""

    headers: Headers = field(default_factory=list)

    def close(self, *, measured: bool = True) -> None:
        """Nothing is held."""
        del measured


class NoLimits:
    """Admits everything."""

    async def admit(self, request: Request, api: Api | None) -> Ticket:
        """A pass."""
        del request, api
        return Pass()


class Watches:
    """Several watches as one."""

    def __init__(self, *watches: Watch):
        self._watches: Sequence[Watch] = watches

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """Tell each of them."""
        for watch in self._watches:
            watch.saw(request, reply, seconds)

    def repeated(self, request: Request, reply: Reply) -> Told | None:
        """Tell each of them, if each can be."""
        told = [watch.repeated(request, reply) if isinstance(watch, Repeating) else None for watch in self._watches]
        able = [one for one in told if one is not None]
        if len(able) < len(told):
            return None

        def all(calls: Sequence[Call]) -> None:
            for one in able:
                one(calls)

        return all
