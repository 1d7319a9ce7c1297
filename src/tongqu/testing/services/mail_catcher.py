"""An SMTP server that keeps the mails it takes, and refuses, forgets or breaks off on demand (label: compatible)."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tongqu.testing.services.process import HOST, free_port


@dataclass
class MailCatcher:
    """Listens on a random loopback port from `start` to `stop`. `user` and `password` are those that may log in; with
    `tls` it speaks TLS at once, with `starttls` after STARTTLS and takes nothing before."""

    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    starttls: ssl.SSLContext | None = None
    mails: list[tuple[tuple[str, ...], EmailMessage]] = field(default_factory=list)
    """Recipients and content of each mail that was taken."""
    replies: list[str] = field(default_factory=list)
    """What the next mails are answered with instead of being taken (`451 try later`); `250` forgets none."""
    silent: int = 0
    """How many of the next mails are taken, and the connection broken without an answer."""
    refused: frozenset[str] = frozenset()
    """Recipients that nobody here is."""

    def start(self) -> MailCatcher:
        """Listen; returns itself."""
        self.port = free_port()
        handler = _Handler(self)
        options: dict[str, Any] = {"ssl_context": self.tls} if self.tls else {}
        if self.starttls:
            options |= {"tls_context": self.starttls, "require_starttls": True}
        if self.user:
            options |= {"authenticator": self._who, "auth_required": True, "auth_require_tls": bool(self.starttls)}
        self._controller = _Quiet(handler, hostname=HOST, port=self.port, **options)
        self._controller.start()
        return self

    def stop(self) -> None:
        """End."""
        self._controller.stop()

    def __enter__(self) -> MailCatcher:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _who(self, *given: Any) -> AuthResult:
        login = given[-1]
        known = isinstance(login, LoginPassword) and (
            (login.login.decode(), login.password.decode()) == (self.user, self.password)
        )
        return AuthResult(success=known, handled=False)


class _Quiet(Controller):
    """Knocks at itself to know that it is there, and closes that connection, which the library leaves open."""

    def _trigger_server(self) -> None:
        socket.create_connection((self.hostname, self.port), 5).close()


class _Handler:
    def __init__(self, catcher: MailCatcher):
        self._catcher = catcher

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        del server, session, options
        if address in self._catcher.refused:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        del session
        catcher = self._catcher
        if catcher.replies:
            return catcher.replies.pop(0)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)  # by its policy
        catcher.mails.append((tuple(envelope.rcpt_tos), message))
        if catcher.silent:
            catcher.silent -= 1
            transport: Any = server.transport
            transport.abort()
        return "250 taken"
