"""Keeps connections open between calls, apart by who vouched for the address."""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.call import Grant
from tongqu.kit.http.connection import Connection, secured
from tongqu.kit.http.watch import Watch
from tongqu.kit.tls import Tls, context

_IDLE_SECONDS = 30.0
_SURE_SECONDS = 3.0
_IDLE_CONNECTIONS = 16


class Origin(NamedTuple):
    """Where a connection goes."""

    scheme: str
    host: str
    port: int
    grant: Grant

    @property
    def own(self) -> tuple[str, str, int]:
        """Without who vouched for it."""
        return self[:3]


class Pool:
    """Idle connections of one client; thread-safe. `named` are the origins that the client certificate is shown to."""

    def __init__(
        self, egress: Egress, tls: Tls, named: frozenset[tuple[str, str, int]], monotonic: Callable[[], float]
    ):
        self._egress = egress
        self._tls = tls
        self._named = named
        self._monotonic = monotonic
        self._idle: dict[Origin, list[Connection]] = defaultdict(list)
        self._lock = Lock()
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._closed = False

    def take(self, origin: Origin, watch: Watch, *, sure: bool) -> Connection:
        """An idle connection or a new one. `sure`: only one that the peer has hardly given up meanwhile, for a call
        that must not be made twice."""
        now = self._monotonic()
        limit = _SURE_SECONDS if sure else _IDLE_SECONDS
        while True:
            with self._lock:
                kept = self._idle[origin]
                connection = kept.pop() if kept else None
            if connection is None:
                return Connection(self.opened(origin, watch.connecting()), self._monotonic())
            if now - connection.used < limit and connection.quiet():
                return connection
            connection.close()

    def give(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose exchange ended cleanly; close any other."""
        if connection.again():
            connection.used = self._monotonic()
            with self._lock:
                kept = self._idle[origin]
                if not self._closed and len(kept) < _IDLE_CONNECTIONS:
                    kept.append(connection)
                    return
        connection.close()

    def opened(self, origin: Origin, seconds: float) -> socket.socket:
        """A new connected socket, with TLS for https."""
        sock = self._egress.connect(origin.host, origin.port, seconds, origin.grant)
        if origin.scheme == "http":
            return sock
        return secured(sock, self.context(origin.own in self._named), origin.host, seconds)

    def context(self, own: bool) -> ssl.SSLContext:
        """TLS as the settings want it; the client certificate is for hosts that the operator named only."""
        with self._lock:
            if own not in self._contexts:
                self._contexts[own] = _context(self._tls, certificate=own)
            return self._contexts[own]

    def close(self) -> None:
        """Close what is idle; connections in use are closed when they come back."""
        with self._lock:
            self._closed = True
            idle = [one for kept in self._idle.values() for one in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()


def _context(tls: Tls, *, certificate: bool) -> ssl.SSLContext:
    made = context(tls, certificate=certificate)
    made.set_alpn_protocols(["http/1.1"])
    return made
