"""One HTTP/1.1 connection: a request goes out, its answer comes back in pieces, and nothing is left over."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Final

import h11

from tongqu.core.errors import AnswerError, CertificateError, ConnectError, InvalidSettingsError
from tongqu.kit.http.watch import Watch

Headers = Sequence[tuple[str, str]]

_PIECE: Final = 120 * 1024  # below the size from which each piece would be mapped anew
_HEADER_BYTES: Final = 128 * 1024


class Connection:
    """A socket on which one exchange after the other is made. Raises ConnectError when it breaks, AnswerError for
    an answer that is no HTTP."""

    def __init__(self, sock: socket.socket, opened: float):
        self._socket = sock
        self._seconds = sock.gettimeout()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
        self.used = opened
        """When it was last used."""

    def exchange(
        self, method: str, target: str, headers: Headers, parts: Iterator[bytes], watch: Watch
    ) -> h11.Response:
        """Send a request and read the head of its answer; `body` then reads the rest. The parts of the request's body
        must be as long together as `headers` say."""
        early: ConnectError | None = None
        try:
            data = self._http.send(h11.Request(method=method, target=target.encode("ascii"), headers=_encoded(headers)))
            for part in parts:
                if part:
                    body = self._http.send(h11.Data(data=part)) or b""
                    if len(part) > _PIECE:
                        self._send(data or b"", watch)
                        self._send(body, watch)
                        data = b""
                    else:
                        data = (data or b"") + body
            self._send((data or b"") + (self._http.send(h11.EndOfMessage()) or b""), watch)
        except h11.LocalProtocolError as error:
            raise InvalidSettingsError(
                f"this is no HTTP request: {error}",
                hint="a header has a line break or a name with odd characters, or a file changed while it was sent",
            ) from None
        except ConnectError as error:
            early = error  # a peer that refuses a request may answer before it has read all of it
        try:
            return self._head(watch)
        except ConnectError as error:
            raise (early if early and not isinstance(error, CertificateError) else error) from None

    def body(self, watch: Watch) -> Iterator[bytes]:
        """The pieces of the answer; the connection can be used again only after the last of them."""
        while True:
            event = self._event(watch)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                return

    def again(self) -> bool:
        """Whether the exchange ended cleanly, so that another can follow; makes the connection ready for it.

        Bytes after the end of an answer are taken for the beginning of nothing: the connection is not used again.
        """
        if (
            self._http.our_state is not h11.DONE
            or self._http.their_state is not h11.DONE
            or self._http.trailing_data[0]
        ):
            return False
        self._http.start_next_cycle()
        return True

    def quiet(self) -> bool:
        """Whether nothing arrived on it while it was idle, not even its end."""
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
            return not poll.poll(0) and not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending())
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()

    def _head(self, watch: Watch) -> h11.Response:
        while True:
            event = self._event(watch)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                raise AnswerError("the peer switched to another protocol unasked")

    def _event(self, watch: Watch) -> object:
        while True:
            try:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                data = self._receive(watch)
                if not data and self._http.their_state is h11.SEND_RESPONSE:
                    raise ConnectError("the peer closed the connection without an answer")
                self._http.receive_data(data)
            except h11.RemoteProtocolError as error:
                if "peer closed" in str(error):
                    raise ConnectError("the peer closed the connection before the end of its answer") from None
                raise AnswerError(f"the answer is not HTTP: {error}") from None

    def _wait_at_most(self, seconds: float) -> None:
        if seconds != self._seconds:  # setting it costs a system call
            self._socket.settimeout(seconds)
            self._seconds = seconds

    def _send(self, data: bytes, watch: Watch) -> None:
        rest = memoryview(data)
        while rest:
            begun = watch.monotonic()
            self._wait_at_most(watch.slice())
            watch.sent = True
            done = 0
            try:
                done = self._socket.send(rest)
                rest = rest[done:]
            except TimeoutError:
                pass
            except OSError as error:
                raise _broken(error) from None
            finally:
                watch.waited(watch.monotonic() - begun, done)

    def _receive(self, watch: Watch) -> bytes:
        while True:
            begun = watch.monotonic()
            self._wait_at_most(watch.slice())
            data: bytes | None = None
            try:
                data = self._socket.recv(_PIECE)
            except TimeoutError:
                pass
            except OSError as error:
                raise _broken(error) from None
            watch.waited(watch.monotonic() - begun, len(data or b""))
            if data is not None:
                return data


def secured(sock: socket.socket, context: ssl.SSLContext, host: str, seconds: float) -> ssl.SSLSocket:
    """The socket with TLS on it; raises CertificateError, or ConnectError. Closes the socket if it fails."""
    try:
        sock.settimeout(seconds)
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise CertificateError(
            f"the certificate of {host} is not accepted: {error.verify_message}",
            hint="trust its authority by tls.ca_file, or have the certificate renewed",
        ) from None
    except (OSError, ValueError) as error:
        sock.close()
        raise _broken(error, f"no TLS with {host}") from None


def _broken(error: OSError | ValueError, what: str = "the connection broke") -> ConnectError:
    reason = (getattr(error, "reason", "") if isinstance(error, ssl.SSLError) else "") or str(error)
    if "certificate" in reason.lower():
        return CertificateError(f"{what}: {reason}", hint="tls.cert_file is what the peer is shown")
    return ConnectError(f"{what}: {reason or type(error).__name__}")


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii", "replace"), value.strip().encode("utf-8")) for name, value in headers]
