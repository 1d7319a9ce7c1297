"""Hops that are proxies: HTTP CONNECT (RFC 9110 §9.3.6), also inside TLS, and SOCKS5 (RFC 1928, RFC 1929)."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tongqu.core.errors import AuthError, CertificateError, ConnectError, TongquError
from tongqu.kit.egress.dial import Below, named, reason
from tongqu.kit.egress.loop import run
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.relay import as_socket

_HEAD_BYTES = 16 * 1024
_CODES = {
    1: "it failed",
    2: "its rules forbid it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "connection refused",
    6: "no answer in time",
    7: "it cannot connect",
    8: "it does not take this kind of address",
}
"""RFC 1928 §6."""


@dataclass(frozen=True)
class Proxy:
    """Where a proxy is and how to log in to it; `label` is how errors call it."""

    label: str
    place: Place
    user: str = ""
    password: str = ""
    resolves: bool = True
    ours: bool = False

    def connect(self, below: Below, place: Place, deadline: float) -> socket.socket:
        """See Hop.connect."""
        raise NotImplementedError(type(self).__name__)

    def reach(self, below: Below, deadline: float) -> None:
        """See Hop.reach: proxies tell only with a connection whether they let us in."""
        self._open(below, deadline).close()

    def _open(self, below: Below, deadline: float) -> socket.socket:
        try:
            return below(self.place, deadline)
        except TongquError as error:
            raise named(self.label, error) from None

    def _broken(self, error: OSError | EOFError) -> ConnectError:
        why = "it closed the connection" if isinstance(error, EOFError) else reason(error)
        return ConnectError(f"{self.label}: {why}", path=str(self.place), hint="check the proxy's address and kind")

    def _unreached(self, place: Place, why: str) -> ConnectError:
        hint = f"{place} must be reachable from the proxy, and its rules must allow it"
        return ConnectError(f"{self.label} gives no connection to {place}: {why}", path=str(place), hint=hint)

    def _denied(self) -> AuthError:
        hint = "write user and password into the proxy's URL: http://user:password@host:port"
        return AuthError(f"{self.label}: the proxy refused user and password", path=str(self.place), hint=hint)


@dataclass(frozen=True)
class HttpProxy(Proxy):
    """A proxy that opens tunnels by CONNECT."""

    def connect(self, below: Below, place: Place, deadline: float) -> socket.socket:
        """See Hop.connect."""
        opened = self._open(below, deadline)
        try:
            opened.settimeout(max(deadline - time.monotonic(), 0.001))
            opened.sendall(self._request(place))
            head = b""
            while not head.endswith(b"\r\n\r\n") and len(head) < _HEAD_BYTES:
                head += _exactly(opened, 1)  # not a byte more: what follows is the tunnel
            self._judge(head, place)
            opened.settimeout(None)
        except (OSError, EOFError) as error:
            opened.close()
            raise self._broken(error) from None
        except BaseException:
            opened.close()
            raise
        return opened

    def _request(self, place: Place) -> bytes:
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        if self.user or self.password:
            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {login}")
        return "\r\n".join([*lines, "", ""]).encode()

    def _judge(self, head: bytes, place: Place) -> None:
        words = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if not head.startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            hint = "check that the port is that of an HTTP proxy"
            raise ConnectError(f"{self.label}: this is no HTTP proxy", path=str(self.place), hint=hint)
        status = int(words[1])
        if status == 407:
            raise self._denied()
        if not 200 <= status < 300:
            raise self._unreached(place, f"HTTP status {status}")


@dataclass(frozen=True)
class TlsProxy(HttpProxy):
    """The same inside TLS; the proxy's certificate is checked against the machine's authorities."""

    def connect(self, below: Below, place: Place, deadline: float) -> socket.socket:
        """See Hop.connect."""
        opened = self._open(below, deadline)
        try:
            return run(self._tunnel(opened, place), deadline)
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f"{self.label}: its certificate is not accepted: {error.verify_message}",
                path=str(self.place),
                hint="the proxy's certificate must be signed by an authority that this machine trusts",
            ) from None
        except (OSError, EOFError) as error:
            raise self._broken(error) from None

    async def _tunnel(self, opened: socket.socket, place: Place) -> socket.socket:
        context = ssl.create_default_context()
        proxy = await asyncio.open_connection(sock=opened, ssl=context, server_hostname=self.place.host)
        try:
            proxy[1].write(self._request(place))
            self._judge(await proxy[0].readuntil(b"\r\n\r\n"), place)
            return await as_socket(proxy)
        except BaseException:
            proxy[1].close()
            raise


@dataclass(frozen=True)
class SocksProxy(Proxy):
    """A SOCKS5 proxy; with `resolves` it is given names, else addresses."""

    def connect(self, below: Below, place: Place, deadline: float) -> socket.socket:
        """See Hop.connect."""
        opened = self._open(below, deadline)
        try:
            opened.settimeout(max(deadline - time.monotonic(), 0.001))
            self._greet(opened)
            self._ask(opened, place)
            opened.settimeout(None)
        except (OSError, EOFError) as error:
            opened.close()
            raise self._broken(error) from None
        except BaseException:
            opened.close()
            raise
        return opened

    def _greet(self, opened: socket.socket) -> None:
        login = bool(self.user or self.password)
        opened.sendall(b"\x05\x02\x00\x02" if login else b"\x05\x01\x00")
        version, method = _exactly(opened, 2)
        if version != 5:
            hint = "check that the port is that of a SOCKS5 proxy"
            raise ConnectError(f"{self.label}: this is no SOCKS5 proxy", path=str(self.place), hint=hint)
        if method == 2 and login:
            user, password = self.user.encode()[:255], self.password.encode()[:255]
            opened.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
            if _exactly(opened, 2)[1] != 0:
                raise self._denied()
        elif method != 0:
            raise self._denied()

    def _ask(self, opened: socket.socket, place: Place) -> None:
        address = place.address
        if address is None:
            name = place.host.encode()
            target = b"\x03" + bytes([len(name)]) + name
        else:
            target = (b"\x01" if address.version == 4 else b"\x04") + address.packed
        opened.sendall(b"\x05\x01\x00" + target + place.port.to_bytes(2, "big"))
        _, code, _, kind = _exactly(opened, 4)
        if code != 0:
            raise self._unreached(place, _CODES.get(code, f"SOCKS error {code}"))
        sizes = {1: 4, 4: 16}
        _exactly(opened, (sizes[kind] if kind in sizes else _exactly(opened, 1)[0]) + 2)


def proxy_of(url: str, label: str, place: Place) -> Proxy:
    """The hop that a proxy's URL means; `place` is its host and port."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme in ("http", "https"):
        return (HttpProxy if parts.scheme == "http" else TlsProxy)(label, place, user, password)
    return SocksProxy(label, place, user, password, resolves=parts.scheme == "socks5h")


def _exactly(opened: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        block = opened.recv(count - len(found))
        if not block:
            raise EOFError
        found += block
    return found
