"""Lets a request in whose caller is known: addresses of client and API, rates, requests at a time, load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.gateway.addresses import AddressList, block
from tongqu.gateway.exchange import Headers, Request
from tongqu.gateway.limit import headers
from tongqu.gateway.limit.rates import SECOND, Counted, Meter, Rate, Taken
from tongqu.gateway.limit.shared import SharedMeter
from tongqu.gateway.limit.shedding import Shedder
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SECONDS, GatewayEntry, RateEntry

if TYPE_CHECKING:
    from tongqu.core.policy import Actor
    from tongqu.gateway.entry import ApiEntry
    from tongqu.gateway.gate import AddressGate
    from tongqu.gateway.publication import Api
    from tongqu.gateway.shield.guard import Shield


def rate(name: str, entry: RateEntry | None) -> Rate | None:
    """A rate as it stands in the project file."""
    return None if entry is None else Rate(name, entry.requests, SECONDS[entry.per], entry.burst or 0)


class Ticket:
    """A request that was let in. `close` must be called when the answer is complete or the caller has left."""

    __slots__ = ("_began", "_key", "_kind", "_owner", "headers")

    def __init__(self, owner: Admitting, kind: str, key: tuple[str, str] | None, began: int, told: Headers):
        self._owner: Admitting | None = owner
        self._kind = kind
        self._key = key
        self._began = began
        self.headers = told
        """What the answer tells about limits."""

    def close(self, *, measured: bool = True) -> None:
        """The request is over; may be called twice. `measured` False: how long it took says nothing about load, since
        it was a stream or a WebSocket."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.leave(self._kind, self._key, self._began if measured else None)


class Share:
    """A place of a request in the limits of one of the APIs it uses. `close` must be called when it is over."""

    __slots__ = ("_key", "_owner", "headers")

    def __init__(self, owner: Admitting, key: tuple[str, str] | None, told: Headers):
        self._owner: Admitting | None = owner
        self._key = key
        self.headers = told
        """What the answer tells about limits."""

    def close(self, *, measured: bool = True) -> None:
        """It is over; may be called twice."""
        del measured
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.free(self._key)


class Standing:
    """Lets the same caller ask the same again, as `Admitting.admit` would: whatever of it cannot change is decided."""

    __slots__ = ("_address", "_block", "_gate", "_key", "_known", "_most", "_owner", "_wanted")

    def __init__(self, owner: Admitting, gate: AddressGate, request: Request, api: Api):
        self._owner = owner
        self._gate = gate
        self._known = request.actor.known
        self._most = api.entry.limit.concurrent
        self._address = request.address
        self._block = block(request.address)
        caller = request.actor.id if self._known else f"anonymous@{self._block}"
        self._key = (caller, api.path)
        self._wanted = [Counted.of(rate, key) for rate, key in owner.wanted(request, api, caller)]

    def again(self) -> str | None:
        """Count one more request, which is answered at once: what `RateLimit` tells. None where it may be refused:
        then nothing was counted."""
        owner = self._owner
        if owner.shedder.full(known=self._known):
            return None
        if self._most is not None and owner.running(self._key) >= self._most:
            return None
        if self._gate.flood(self._block):
            return None
        told = owner.brief(self._wanted)
        if told is None:
            self._gate.give_back(self._address)
        return told

    def over(self, requests: int) -> None:
        """So many were let in and are answered."""
        self._owner.briefly(requests)
        if self._known:
            self._gate.vouch(self._address)


def _clients_of(actor: Actor) -> list[str]:
    """The clients that a call comes through: the caller, the one its token was issued to, those that act for it."""
    chain = actor.attributes.get("act", ())
    named = [actor.id, actor.attributes.get("client", ""), *(chain if isinstance(chain, tuple | list) else ())]
    return [str(name).removeprefix("client:") for name in named]


@dataclass(frozen=True, slots=True)
class _OfApi:
    """What an API's entry comes to."""

    entry: ApiEntry
    addresses: AddressList
    rate: Rate


class Admitting:
    """The `Admission` of the gateway. `now` is monotonic, in nanoseconds. For one event loop.

    Rates are taken all together or not at all: client x API, client, user, and with Redis also address and total (which
    otherwise the gate counts). What is refused here is given back to the gate.
    """

    def __init__(
        self,
        entry: GatewayEntry,
        now: Callable[[], int],
        *,
        gate: AddressGate | None = None,
        shared: SharedMeter | None = None,
        shield: Shield | None = None,
        meter: Meter | None = None,
    ):
        limits = entry.limits
        self._now = now
        self._gate = gate
        self._shared = shared
        self._shield = shield
        self._meter = Meter(limits.keys) if meter is None else meter
        self._old = limits.old_headers
        self._client = rate("client", limits.client)
        self._user = rate("user", limits.user)
        self._everywhere = [(rate("total", limits.total), False), (rate("address", limits.address), True)]
        self._clients = {name: AddressList(one) for name, one in entry.clients.items()}
        self._apis: dict[int, _OfApi] = {}
        self._running: dict[tuple[str, str], int] = {}
        self.shedder = Shedder(limits.concurrent)
        """The limit of requests at a time."""

    async def admit(self, request: Request, api: Api | None) -> Ticket:
        """Let the request in. Raises Problem `address.refused`, `limit.exceeded` (429) or `overloaded` (503); a request
        that is refused so was counted nowhere. What the shield refuses (`shield.refused`) counts for its address."""
        try:
            return await self._admit(request, api)
        except Problem as problem:
            if self._gate is not None and problem.code != "shield.refused":
                self._gate.give_back(request.address)
            raise

    async def _admit(self, request: Request, api: Api | None) -> Ticket:
        actor = request.actor
        self._check_addresses(request, api)
        caller = actor.id if actor.known else f"anonymous@{block(request.address)}"
        if self._shield is not None:
            self._shield.head(request, api)
            self._shield.body(request, api)
        key = self._check_running(caller, api)
        if not self.shedder.enter(known=actor.known):
            raise headers.overloaded()
        if key is not None:
            self._running[key] = self._running.get(key, 0) + 1
        began = self._now()
        kind = api.path if api is not None else request.path[:32]
        try:
            taken = await self._take(self.wanted(request, api, caller), began)
            if not all(one.allowed for one in taken):
                raise headers.exceeded(taken, old=self._old)
        except BaseException:
            self.leave(kind, key, None)
            raise
        if actor.known and self._gate is not None:
            self._gate.vouch(request.address)
        return Ticket(self, kind, key, began, headers.told(taken, old=self._old))

    def standing(self, request: Request, api: Api) -> Standing | None:
        """What lets in the same request again; None where that takes more than this process and a moment."""
        if self._gate is None or self._shared is not None or self._old:
            return None
        return Standing(self, self._gate, request, api)

    @property
    def ready(self) -> bool:
        """See stages.Readmitting."""
        return True

    def brief(self, wanted: Sequence[Counted]) -> str | None:
        """See Meter.brief."""
        return self._meter.brief(wanted, self._now())

    def briefly(self, requests: int) -> None:
        """So many requests were let in and answered at once."""
        self.shedder.brief(requests, self._now() / SECOND)

    def running(self, key: tuple[str, str]) -> int:
        """How many requests of a caller to an API run."""
        return self._running.get(key, 0)

    async def share(
        self, request: Request, api: Api, texts: Sequence[tuple[str, str]], cost: int = 1, first: bool = True
    ) -> Share:
        """Let a request that was let in use one more API, as one of several: its addresses, its requests at a time and
        its rate, and what its shield says of `texts`, each with its name. It counts for as many requests as it asks
        questions (`cost`), at the rates of client and user too, where the `first` one was counted when the request was
        let in. Raises Problem as `admit`."""
        if not self._of(api.entry).addresses.allows(request.address):
            raise Problem("address.refused")
        if self._shield is not None:
            self._shield.values(request, api, texts)
        caller = request.actor.id if request.actor.known else f"anonymous@{block(request.address)}"
        key = self._check_running(caller, api)
        wanted, weights = self._shared_rates(request, api, caller), [cost]
        weights += [cost - first] * (len(wanted) - 1)
        if not weights[-1]:
            wanted, weights = wanted[:1], weights[:1]
        taken = await self._take(wanted, self._now(), weights)
        if not all(one.allowed for one in taken):
            raise headers.exceeded(taken, old=self._old)
        if key is not None:
            self._running[key] = self._running.get(key, 0) + 1
        return Share(self, key, headers.told(taken, old=self._old))

    def leave(self, kind: str, key: tuple[str, str] | None, began: int | None) -> None:
        """A request is over."""
        self.free(key)
        now = self._now()
        self.shedder.leave(kind, None if began is None else (now - began) / SECOND, now / SECOND)

    def free(self, key: tuple[str, str] | None) -> None:
        """A place among the requests of a client to an API is free."""
        if key is not None:
            left = self._running.get(key, 1) - 1
            if left > 0:
                self._running[key] = left
            else:
                self._running.pop(key, None)

    def numbers(self) -> dict[str, float]:
        """For metrics: requests at a time and their limit, what was shed, keys counted, and how Redis is."""
        shared = self._shared
        return {
            "running": self.shedder.running,
            "running_limit": self.shedder.limit,
            "shed": self.shedder.shed,
            "keys": len(self._meter),
            "keys_forgotten": self._meter.forgotten,
            "shared_healthy": float(shared.healthy) if shared else 1.0,
            "shared_failures": shared.asked.failures if shared else 0,
            "shared_local": shared.asked.local if shared else 0,
        }

    def _check_addresses(self, request: Request, api: Api | None) -> None:
        if self._clients and not all(
            found.allows(request.address)
            for name in _clients_of(request.actor)
            if (found := self._clients.get(name)) is not None
        ):
            raise Problem("address.refused")
        if api is not None and not self._of(api.entry).addresses.allows(request.address):
            raise Problem("address.refused")

    def _check_running(self, caller: str, api: Api | None) -> tuple[str, str] | None:
        if api is None or api.entry.limit.concurrent is None:
            return None
        key = (caller, api.path)
        if self._running.get(key, 0) >= api.entry.limit.concurrent:
            raise headers.too_many_at_once(api.entry.limit.concurrent)
        return key

    def wanted(self, request: Request, api: Api | None, caller: str) -> list[tuple[Rate, str]]:
        """The rates that a request counts for, each with its key."""
        wanted: list[tuple[Rate, str]] = []
        if api is not None:
            wanted.append((self._of(api.entry).rate, f"{caller} {api.path}"))
        if self._client is not None and request.actor.known:
            wanted.append((self._client, caller))
        person = request.actor.subject or (request.actor.id if request.actor.kind == "user" else "")
        if self._user is not None and person:
            wanted.append((self._user, person))
        if self._shared is not None:
            for one, by_address in self._everywhere:
                if one is not None:
                    wanted.append((one, block(request.address) if by_address else ""))
        return wanted

    def _of(self, entry: ApiEntry) -> _OfApi:
        found = self._apis.get(id(entry))
        if found is None or found.entry is not entry:
            if len(self._apis) > 1000:
                self._apis.clear()
            limit = entry.limit
            own = Rate("api", limit.requests, SECONDS[limit.per], limit.burst or 0)
            found = self._apis[id(entry)] = _OfApi(entry, AddressList(entry.addresses), own)
        return found

    def _shared_rates(self, request: Request, api: Api, caller: str) -> list[tuple[Rate, str]]:
        """The rates of API, client and user, that of the API first."""
        found = [(self._of(api.entry).rate, f"{caller} {api.path}")]
        return found + [one for one in self.wanted(request, None, caller) if one[0].name in ("client", "user")]

    async def _take(self, wanted: list[tuple[Rate, str]], now: int, weights: Sequence[int] = ()) -> list[Taken]:
        if self._shared is not None:
            return await self._shared.take(wanted, weights)
        return self._meter.take(wanted, now, weights)
