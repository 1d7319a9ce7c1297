"""Opens every connection to the outside: refuses what the policy forbids, pins addresses, goes through the hops."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from tongqu.core.errors import CertificateError, ConnectError, TongquError
from tongqu.kit.egress.networks import Network
from tongqu.kit.egress.place import Address, Place, host_of
from tongqu.kit.egress.policy import Grant, Policy, refused
from tongqu.kit.egress.resolve import Resolver, resolve, system_resolver

SECONDS = 10.0
"""Limit for opening a connection, where the caller names none."""

_KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30000}


@dataclass(frozen=True)
class Pinned:
    """One checked address of a place. Whoever connects goes to `address`, and says `place.host` in TLS and `Host`."""

    place: Place
    address: Address

    @property
    def port(self) -> int:
        """The port to connect to."""
        return self.place.port


@dataclass(frozen=True)
class Route:
    """Where a driver that opens its own sockets must connect to reach a place: the first of these addresses that
    answers, on this port. Certificates are still those of the place's host."""

    addresses: tuple[str, ...]
    port: int


class Below(Protocol):
    """What a hop stands on: opens a connection to a place through the hops before it."""

    def __call__(self, place: Place, deadline: float) -> socket.socket: ...


class Hop(Protocol):
    """One station on the way: a proxy, a jump host, an agent."""

    @property
    def label(self) -> str:
        """How errors and `check` call it: `hop 2 agent:plant2`."""

    @property
    def resolves(self) -> bool:
        """Whether it takes names and resolves them on its side."""

    @property
    def ours(self) -> bool:
        """Whether it may be on a port that Tongqu itself listens on."""

    def reach(self, below: Below, deadline: float) -> None:
        """Get as far as the hop itself (connect, log in); raises ConnectError or AuthError that begin with `label`."""

    def connect(self, below: Below, place: Place, deadline: float) -> socket.socket:
        """A connection to the place from where the hop is; raises ConnectError or AuthError that begin with `label`."""


class Egress:
    """How one connection reaches the outside. Thread-safe; holds nothing that must be closed.

    `granted` are the (host, port) pairs that the connection names, `via` the hops in the order they are passed, `allow`
    networks that addresses from data may be in besides the public ones. Every method that takes a `grant` raises
    EgressRefusedError (not retryable) where the policy forbids the address, whoever asks: metadata services and
    Tongqu's own ports always, for `Grant.DATA` also everything that is not public and not granted.
    Every limit is in seconds.
    """

    def __init__(
        self,
        granted: Iterable[tuple[str, int]] = (),
        via: Sequence[Hop] = (),
        *,
        resolver: Resolver = system_resolver,
        allow: Iterable[Network] = (),
        policy: Policy | None = None,
    ):
        places = frozenset(place_of(host, port) for host, port in granted)
        self.policy = policy or Policy(places, tuple(allow))
        self.via = tuple(via)
        self._resolver = resolver

    def check(self, target: str | tuple[str, int], grant: Grant = Grant.OPERATOR) -> Place:
        """The place that a URL (http, https, ws, wss) or a host and port mean, if it may be contacted as far as can be
        told without resolving its name. Call it for each redirect and each link before anything is sent, and connect
        to the host and port that it returns, so that no second parser reads the URL differently; `connect` checks the
        addresses again."""
        try:
            place = Place.of_url(target) if isinstance(target, str) else Place.of(*target)
        except ValueError as error:
            raise refused(str(error)) from None
        self.policy.check(place, grant)
        return place

    def addresses(self, host: str, port: int, grant: Grant = Grant.OPERATOR, seconds: float = SECONDS) -> list[Pinned]:
        """Resolve once and check every answer: one forbidden address forbids the name. For drivers that can be told an
        address beside the name; only without `via`, else see `connect` and `route`."""
        place = self.check((host, port), grant)
        found = resolve(place, self._resolver, seconds)
        for address in found:
            self.policy.check_address(place, address, grant)
        return [Pinned(place, address) for address in found]

    def connect(self, host: str, port: int, timeout: float = SECONDS, grant: Grant = Grant.OPERATOR) -> socket.socket:
        """A connected blocking socket without timeout, through all hops; raises ConnectError, or AuthError of a hop.

        It is a real TCP socket (TLS by `ssl.SSLContext.wrap_socket` with `server_hostname=host`); with hops it may be
        one end of a loopback pair that a thread serves, so do not ask it for its peer's address.
        """
        deadline = time.monotonic() + timeout
        if not self.via:
            return _first(self.addresses(host, port, grant, timeout), deadline)
        place = self.check((host, port), grant)
        last = self.via[-1]
        below = self._below(len(self.via) - 1)
        if last.resolves and self.policy.vouched(place, grant):
            return last.connect(below, place, deadline)
        tried: ConnectError | None = None
        for pinned in self.addresses(host, port, grant, timeout):
            try:
                return last.connect(below, Place(str(pinned.address), port), deadline)
            except ConnectError as error:
                tried = error
        assert tried is not None  # noqa: S101  # a place has one address or more
        raise tried

    def route(self, host: str, port: int, timeout: float = SECONDS, grant: Grant = Grant.OPERATOR) -> Route:
        """For drivers that open their own sockets: the checked addresses, or with hops a loopback port of this process
        that leads to the place (see `forward.Forward`). Ask again for each connection; raises as `connect` does."""
        if not self.via:
            return Route(tuple(str(one.address) for one in self.addresses(host, port, grant, timeout)), port)
        from tongqu.kit.egress.forward import HOST, Forward

        forward = Forward(lambda: self.connect(host, port, timeout, grant), self.connect(host, port, timeout, grant))
        return Route((HOST,), forward.port)

    def stages(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        seconds: float = SECONDS,
    ) -> Iterator[str]:
        """For `check`: yields `dns` (without hops), the label of each hop, `tcp` and, given a context, `tls` with the
        protocol's version, each after it has passed; what fails is raised and begins with the stage or hop."""
        deadline = time.monotonic() + seconds
        if self.via:
            self.check((host, port))
            for number, hop in enumerate(self.via):
                hop.reach(self._below(number), deadline)
                yield hop.label
        else:
            self.addresses(host, port, seconds=seconds)
            yield "dns"
        opened = self.connect(host, port, max(deadline - time.monotonic(), 0.1))
        try:
            yield "tcp"
            if tls is not None:
                opened.settimeout(max(deadline - time.monotonic(), 0.1))
                opened, version = _secured(opened, tls, server_name or host, f"{host}:{port}")
                yield f"tls: {version}"
        finally:
            opened.close()

    def _below(self, hops: int) -> Below:
        """What the hop of this number (from 0) stands on. Hops are the operator's."""

        def open_below(place: Place, deadline: float) -> socket.socket:
            if hops == 0:
                policy = replace(self.policy, own=frozenset) if self.via[0].ours else self.policy
                return direct(place, deadline, policy, self._resolver)
            return self.via[hops - 1].connect(self._below(hops - 1), place, deadline)

        return open_below


def direct(
    place: Place, deadline: float, policy: Policy | None = None, resolver: Resolver = system_resolver
) -> socket.socket:
    """A connection to an operator's place without hops: what the first hop stands on."""
    way = Egress(resolver=resolver, policy=policy)
    return way.connect(place.host, place.port, max(deadline - time.monotonic(), 0.001))


def place_of(host: str, port: int) -> Place:
    """The place in its one spelling; raises EgressRefusedError for what is no host."""
    try:
        return Place.of(host, port)
    except ValueError as error:
        raise refused(str(error)) from None


def same_host(one: str, other: str) -> bool:
    """Whether two hosts are the same in their one spelling; credentials go along only then. False for what is none."""
    try:
        return host_of(one) == host_of(other)
    except ValueError:
        return False


def tune(opened: socket.socket) -> None:
    """No waiting for more bytes, and a peer that vanishes is noticed within a minute."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _first(pinned: Sequence[Pinned], deadline: float) -> socket.socket:
    """A connection to the first address that answers; each gets its share of the time that is left."""
    failed: OSError | None = None
    for number, one in enumerate(pinned):
        left = deadline - time.monotonic()
        share = max(left / (len(pinned) - number), 0.001)
        try:
            opened = socket.create_connection((str(one.address), one.port), share)
        except OSError as error:
            failed = error
            continue
        opened.settimeout(None)
        with suppress(OSError):  # the peer may be gone already; the first read tells
            tune(opened)
        return opened
    place = pinned[0].place
    raise ConnectError(
        f"tcp: {place} does not answer: {reason(failed)}",
        path=str(place),
        hint="check host and port, that the server runs, and that no firewall is between",
    )


def reason(error: BaseException | None) -> str:
    """What the operating system says went wrong, in few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _secured(opened: socket.socket, tls: ssl.SSLContext, server_name: str, where: str) -> tuple[ssl.SSLSocket, str]:
    try:
        secured = tls.wrap_socket(opened, server_hostname=server_name)
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"tls: the certificate of {server_name} is not accepted: {error.verify_message}",
            path=where,
            hint="name the certificate authority in the connection's settings, or correct the host name",
        ) from None
    except OSError as error:
        raise ConnectError(
            f"tls: {server_name} does not talk TLS with us: {reason(error)}",
            path=where,
            hint="check the port, and which TLS versions the server speaks",
        ) from None
    return secured, secured.version() or "unknown"


def named(label: str, error: TongquError) -> TongquError:
    """The error with the hop's label before its message."""
    apart = " is not reached:" if error.message.startswith("hop ") else ":"
    error.message = f"{label}{apart} {error.message}"
    error.args = (error.message,)
    return error
