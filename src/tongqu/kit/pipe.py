"""A socket with buffers both ways, and with a sign of life that is sent whatever its user is doing."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from tongqu.core.errors import CertificateError, ConnectError
from tongqu.kit.tls import Tls, context

_LEAST = 0.0005


class Pipe:
    """A connection whose address was checked, through all hops, with TLS where the settings have `tls`. Used by one
    thread at a time. Raises ConnectError (retryable) for a lost one."""

    def __init__(self, settings: Any, *, greeted: bool = False):
        """`greeted`: the server speaks first and in the clear; whoever uses the connection calls `secure` then."""
        self.where: str = settings.display()
        self.buffer = bytearray()
        self.out = bytearray()
        self.heard = monotonic()
        """When something came last."""
        self._host: str = settings.host
        self._seconds: float = settings.answer_seconds
        self._lock, self._over = Lock(), Event()
        self._beats: Thread | None = None
        self._socket: socket.socket = settings.egress((settings.host, settings.port)).connect(
            settings.host, settings.port, settings.connect_seconds
        )
        if settings.tls is not None and not greeted:
            self.secure(settings.tls, settings.connect_seconds)

    def secure(self, tls: Tls, seconds: float) -> None:
        """Go on in TLS, which is agreed upon in so many seconds; raises CertificateError."""
        try:
            self._socket.settimeout(seconds)
            self._socket = context(tls).wrap_socket(self._socket, server_hostname=self._host)
        except ssl.SSLError as error:
            self._socket.close()
            raise CertificateError(f"tls: {error.reason or error}", path=self.where, hint="check tls") from None
        except OSError as error:
            self._socket.close()
            raise self.lost(str(error)) from None

    @property
    def secured(self) -> str:
        """The version of TLS; empty without."""
        return self._socket.version() or "" if isinstance(self._socket, ssl.SSLSocket) else ""

    def flush(self) -> None:
        """Send what is noted in `out`."""
        if self.out:
            self._send(bytes(self.out))
            self.out.clear()

    def _send(self, data: bytes) -> None:
        with self._lock:
            try:
                self._socket.settimeout(self._seconds)
                self._socket.sendall(data)
            except OSError as error:
                raise self.lost(str(error)) from None

    def fill(self, deadline: float) -> bool:
        """Receive something into `buffer`; False if nothing came in time."""
        with self._lock:
            try:
                self._socket.settimeout(max(deadline - monotonic(), _LEAST))
                came = self._socket.recv(1 << 18)
            except (TimeoutError, ssl.SSLWantReadError):
                return False
            except OSError as error:
                raise self.lost(str(error)) from None
        if not came:
            raise self.lost("closed by the server")
        self.buffer += came
        self.heard = monotonic()
        return True

    def beat(self, seconds: float, sign: bytes) -> None:
        """Send a sign of life every so many seconds until the end."""

        def go_on() -> None:
            while not self._over.wait(seconds):
                try:
                    self._send(sign)
                except ConnectError:  # whoever uses the connection will find it lost
                    return

        self._beats = Thread(target=go_on, name="tongqu-beat", daemon=True)
        self._beats.start()

    def lost(self, why: str) -> ConnectError:
        """The error for a connection that is of no use any more."""
        return ConnectError(f"the connection was lost: {why}", path=self.where, hint="check host, port and the server")

    def close(self) -> None:
        """Release the connection; may be called twice."""
        self._over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._socket.close()
        if self._beats is not None:
            self._beats.join()
            self._beats = None
