"""One FTP control connection and its data connections, all opened by the egress."""

from __future__ import annotations

import ftplib
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tongqu.kit.egress.dial import Egress
from tongqu.kit.places.settings import PlaceSettings

_IMPLICIT = 990
_EPSV = re.compile(r"\((.)\1\1(\d+)\1\)")
_PASV = re.compile(r"\d+,\d+,\d+,\d+,(\d+),(\d+)")


class RefusedError(Exception):
    """The login was refused."""


class Ftp(ftplib.FTP_TLS):
    """A control connection whose sockets are opened by the egress, and only to the host that was asked for."""

    def __init__(self, egress: Egress, tls: ssl.SSLContext | None, settings: PlaceSettings):
        seconds = settings.timeouts.read_seconds
        super().__init__(timeout=seconds, context=tls, encoding=settings.name_encoding)
        self._egress, self._tls, self._seconds = egress, tls, settings.timeouts.connect_seconds
        self._epsv = True

    def dial(self, host: str, port: int) -> None:
        """Connect and read the greeting, in TLS at once on port 990."""
        self.host, self.port = host, port
        self._take(self._egress.connect(host, port, self._seconds))
        if self._tls is not None and port == _IMPLICIT:
            self._take(self._secured(self.sock))
        self.welcome = self.getresp()

    def enter(self, user: str, password: str) -> None:
        """Log in, by AUTH TLS first where there is a context. Plain text is never fallen back to."""
        if self._tls is not None and not isinstance(self.sock, ssl.SSLSocket):
            self.voidcmd("AUTH TLS")
            self._take(self._secured(self.sock))
        try:
            ftplib.FTP.login(self, user, password)  # noqa: S321  # the user chose ftp
        except ftplib.error_perm as error:
            raise RefusedError(str(error)[:200]) from None
        if self._tls is not None:
            self.prot_p()

    def _take(self, sock: Any) -> None:
        sock.settimeout(self.timeout)
        self.sock, self.af = sock, socket.AF_INET
        self.file: Any = sock.makefile("r", encoding=self.encoding, errors="surrogateescape")

    def _secured(self, sock: Any, session: Any = None) -> ssl.SSLSocket:
        assert self._tls is not None  # noqa: S101  # only asked where there is one
        return self._tls.wrap_socket(sock, server_hostname=self.host, session=session)

    def makepasv(self) -> tuple[str, int]:
        """The port that the server opened; whatever address it names, the data comes from the host we know."""
        if self._epsv:
            try:
                found = _EPSV.search(self.sendcmd("EPSV"))
                if found:
                    return self.host, int(found[2])
            except ftplib.error_perm:
                self._epsv = False
        answer = self.sendcmd("PASV")
        found = _PASV.search(answer)
        if found is None:
            raise ftplib.error_proto(answer)  # noqa: S321  # an error class
        return self.host, int(found[1]) * 256 + int(found[2])

    def putline(self, line: str) -> None:
        """Send a command; bytes of a name that `retrlines` kept apart are sent as they were."""
        if "\r" in line or "\n" in line:
            raise ValueError("a command is one line")
        self.sock.sendall(f"{line}\r\n".encode(self.encoding, "surrogateescape"))  # type: ignore[union-attr]  # it is connected

    def retrlines(self, cmd: str, callback: Callable[[str], Any] | None = None) -> str:
        """Give each line of a list to `callback`; bytes that are nothing in the encoding of names are kept apart."""
        self.sendcmd("TYPE A")
        with self.transfercmd(cmd) as data, data.makefile("rb") as lines:
            while line := lines.readline(self.maxline + 1):
                if len(line) > self.maxline:
                    raise ftplib.error_proto("a line of the list is too long")  # noqa: S321  # an error class
                if callback is not None:
                    callback(line.decode(self.encoding, "surrogateescape").rstrip("\r\n"))
            if isinstance(data, ssl.SSLSocket):
                with suppress(OSError, ValueError):
                    data.unwrap()
        return self.voidresp()

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[Any, int | None]:
        """A data connection on which the command's answer begins; in TLS it resumes the control connection's session,
        which proves to the server that it is us."""
        host, port = self.makepasv()
        opened: Any = self._egress.connect(host, port, self._seconds)
        try:
            opened.settimeout(self.timeout)
            if rest is not None:
                self.sendcmd(f"REST {rest}")
            answer = self.sendcmd(cmd)
            if answer[:1] == "2":
                answer = self.getresp()
            if answer[:1] != "1":
                raise ftplib.error_reply(answer)  # noqa: S321  # an error class
            if self._tls is not None:
                opened = self._secured(opened, getattr(self.sock, "session", None))
        except BaseException:
            opened.close()
            raise
        return opened, None
