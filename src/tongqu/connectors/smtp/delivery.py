"""Hands mails to a server (RFC 5321) over one connection that is kept, and knows of each what became of it."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from tongqu.connectors.smtp.compose import Mail
from tongqu.connectors.smtp.settings import SmtpSettings
from tongqu.core.errors import (
    AuthError,
    CallRefusedError,
    ConnectError,
    RateLimitedError,
    UnknownOutcomeError,
)
from tongqu.kit.mail.opening import opened, translated
from tongqu.kit.tls import context

_READY, _ACCEPTED = 354, 250


class _Protocol(smtplib.SMTP):
    """The protocol over a socket that is opened by us."""

    def __init__(self, made: socket.socket, host: str, timeout: float):
        self._made = made
        super().__init__(timeout=timeout)
        self._host = host
        code, said = self.connect(host)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._made


class Delivery:
    """One connection; for one thread at a time. Opened at the first mail, and again after it was lost."""

    def __init__(self, settings: SmtpSettings):
        self._settings = settings
        self._protocol: _Protocol | None = None

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.own_port}"

    def stages(self) -> Iterator[str]:
        """dns, tcp, tls where it is used, login; raises what fails."""
        settings, port = self._settings, self._settings.own_port
        egress = settings.egress((settings.host, port))
        tls = context(settings.tls) if settings.security == "tls" else None
        yield from egress.stages(settings.host, port, tls=tls, seconds=settings.connect_seconds)
        protocol = self._open()
        if settings.security == "starttls" and isinstance(protocol.sock, ssl.SSLSocket):
            yield f"tls: {protocol.sock.version()}"
        if settings.user:
            yield "login"
        with translated(self._where):
            code, said = protocol.mail(settings.origin)
            protocol.rset()
        if code != _ACCEPTED:
            raise CallRefusedError(
                f"{self._where} does not take mail from {settings.origin}: {_text(said)}", hint="correct sender"
            )
        yield "sender"

    def send(self, mail: Mail) -> str:
        """Hand a mail over; what the server said. Raises CallRefusedError (5xx), RateLimitedError (4xx), ConnectError
        (certainly not accepted), UnknownOutcomeError if the connection broke after the last byte, AuthError."""
        protocol = self._fresh()
        with translated(self._where):
            self._envelope(protocol, mail)
            code, said = protocol.docmd("DATA")
            if code != _READY:
                raise self._answered(code, said)
            body = mail.content.replace(b"\r\n.", b"\r\n..")
            body = b"." + body if body.startswith(b".") else body
            try:
                protocol.send(body.rstrip(b"\r\n") + b"\r\n.\r\n")
            except smtplib.SMTPServerDisconnected as error:
                self.close()
                raise ConnectionResetError(str(error)) from None
        try:
            code, said = protocol.getreply()
        except (OSError, smtplib.SMTPException):
            self.close()
            raise UnknownOutcomeError(
                f"{self._where} did not say whether it took the mail",
                path=self._where,
                hint="look for its Message-ID in the server's log or the recipient's mailbox",
            ) from None
        if code != _ACCEPTED:
            raise self._answered(code, said)
        return _text(said)

    def _envelope(self, protocol: _Protocol, mail: Mail) -> None:
        code, said = protocol.mail(mail.sender, [f"size={len(mail.content)}"] if protocol.has_extn("size") else [])
        if code != _ACCEPTED:
            self._reset(protocol)
            raise self._answered(code, said)
        for address in mail.recipients:
            code, said = protocol.rcpt(address)
            if code not in (250, 251):
                self._reset(protocol)
                raise self._answered(code, said, address)

    def _reset(self, protocol: _Protocol) -> None:
        with suppress(OSError, smtplib.SMTPException):
            protocol.rset()

    def _answered(self, code: int, said: bytes, address: str = "") -> CallRefusedError | RateLimitedError:
        whom = f" for {address}" if address else ""
        words = f"{self._where} refused the mail{whom}: {code} {_text(said)}"
        error: CallRefusedError | RateLimitedError
        if 400 <= code < 500:
            error = RateLimitedError(words, path=self._where, hint="it is tried again")
        else:
            error = CallRefusedError(words, path=self._where, hint="correct the mail or its recipients")
        error.status = code
        return error

    def _fresh(self) -> _Protocol:
        """The connection, if it still lives; else a new one."""
        if self._protocol is not None:
            with suppress(OSError, smtplib.SMTPException):
                if self._protocol.noop()[0] == _ACCEPTED:
                    return self._protocol
            self.close()
        return self._open()

    def _open(self) -> _Protocol:
        settings = self._settings
        egress = settings.egress((settings.host, settings.own_port))
        made = opened(settings, egress, settings.own_port)
        try:
            with translated(self._where):
                protocol = self._greeted(made)
        except BaseException:
            made.close()
            raise
        self._protocol = protocol
        return protocol

    def _greeted(self, made: socket.socket) -> _Protocol:
        settings = self._settings
        protocol: _Protocol | None = None
        try:
            protocol = _Protocol(made, settings.host, settings.read_seconds)
            protocol.ehlo_or_helo_if_needed()
            if settings.security == "starttls":
                self._secure(protocol)
            if settings.user:
                self._login(protocol)
        except BaseException as error:
            if protocol is not None:
                protocol.close()
            if isinstance(error, smtplib.SMTPException):
                raise self._not_let_in(error) from None
            raise
        return protocol

    def _login(self, protocol: _Protocol) -> None:
        """Log in by the first mechanism that both sides have, once: several failures lock accounts."""
        protocol.user, protocol.password = self._settings.user, self._settings.secret
        offered = protocol.esmtp_features.get("auth", "").upper().split()
        ways: dict[str, Any] = {
            "PLAIN": protocol.auth_plain,
            "LOGIN": protocol.auth_login,
            "CRAM-MD5": protocol.auth_cram_md5,
        }
        for name, way in ways.items():
            if name in offered:
                protocol.auth(name, way)
                return
        raise smtplib.SMTPNotSupportedError(f"it offers no way to log in that we know ({' '.join(offered) or 'none'})")

    def _secure(self, protocol: _Protocol) -> None:
        if not protocol.has_extn("starttls"):
            raise ConnectError(
                f"tls: {self._where} offers no STARTTLS", path=self._where, hint="use smtps://, or security: none"
            )
        protocol.starttls(context=context(self._settings.tls))
        protocol.ehlo()

    def _not_let_in(self, error: smtplib.SMTPException) -> AuthError | ConnectError:
        if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPNotSupportedError):
            said = _text(error.smtp_error) if isinstance(error, smtplib.SMTPAuthenticationError) else str(error)
            return AuthError(
                f"{self._where} refused the login of {self._settings.user}: {said}",
                path=self._where,
                hint="check user and password; many providers want an app password",
            )
        said = _text(getattr(error, "smtp_error", b"")) or type(error).__name__
        return ConnectError(f"{self._where} does not serve us: {said}", path=self._where, hint="check host and port")

    def close(self) -> None:
        """Let go of the connection; may be called twice."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            with suppress(OSError, smtplib.SMTPException):
                protocol.quit()
            protocol.close()


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:500]
