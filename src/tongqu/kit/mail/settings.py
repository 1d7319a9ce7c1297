"""Settings of a mail server: where it is, how the connection is secured, and who logs in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, Settings, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.tls import Tls

Security = Literal["tls", "starttls", "none"]


class MailServer(Networked):
    """A mail server and the account to log in with."""

    host: str = titled("主机", "Host", min_length=1)
    """Name or address of the server."""
    port: int = titled("端口", "Port", 0, ge=0, le=65535)
    """TCP port; 0 means the usual one of the protocol and `security`."""
    security: Security = titled("加密", "Security", "tls")
    """`tls`: encrypted from the first byte; `starttls`: a plain connection that must become encrypted before the login;
    `none`: never encrypted, for a server on a trusted network only."""
    user: str = titled("用户", "User", "")
    """Login name; empty: no login."""
    password: Secret | None = titled("密码", "Password", None)
    """Password, better given as ${env:NAME} or ${secret:NAME}; many providers want an app password here."""
    tls: Tls = titled("TLS", "TLS", Tls())
    """Which certificates are trusted."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 15.0, gt=0)
    """Give up connecting and logging in after this many seconds."""
    read_seconds: float = titled("读取超时(秒)", "Read timeout, seconds", 60.0, gt=0)
    """Give up when the server says nothing for this many seconds."""

    @property
    def secret(self) -> str:
        """The password, empty if there is none."""
        return self.password.get_secret_value() if self.password else ""


def from_parts(url: str, securities: dict[str, Security]) -> dict[str, Any]:
    """Settings of a URL `scheme://user:password@host:port/path?setting=value`: the parts that are there, `path` decoded
    and without its first slash, a `+` a plus. Raises InvalidSettingsError without a host; no message holds the
    password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidSettingsError(f"this is no address: {error}", path="url") from None
    scheme = parts.scheme.lower()
    if not parts.hostname:
        raise InvalidSettingsError("the address names no host", path="url", hint=f"write {scheme}://user@host/…")
    found: dict[str, Any] = {
        "host": parts.hostname, "port": port or 0, "security": securities[scheme],
        "user": unquote(parts.username or ""), "password": unquote(parts.password or ""),
        "path": unquote(parts.path.lstrip("/")),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value} | dict(parse_qsl(parts.query.replace("+", "%2B")))


def shown(scheme: str, server: MailServer, usual: int, path: str = "") -> str:
    """A server's address without password: `smtps://user@host/path`."""
    user = f"{quote(server.user)}@" if server.user else ""
    host = f"[{server.host}]" if ":" in server.host else server.host
    port = "" if server.port in (0, usual) else f":{server.port}"
    return f"{scheme}://{user}{host}{port}/{path}"


class MailFilter(Settings):
    """Which messages are meant."""

    sender: str = titled("发件人", "From", "")
    """Address of the sender, with `*` for anything: `*@supplier.com`."""
    subject: str = titled("主题", "Subject", "")
    """Subject, with `*` for anything: `*日报*`."""
    since: str = titled("起始日期", "Since", "", pattern=r"^(\d{4}-\d{2}-\d{2}|[1-9]\d{0,4} ?d)?$")
    """Only messages that the server took on this day or later (`2026-01-31`), or within so many days (`30 d`)."""

    def criteria(self, today: date | None = None) -> tuple[str, ...]:
        """What the server is asked for (RFC 3501 §6.4.4); the rest is looked at here, since servers differ in it."""
        if not self.since:
            return ()
        if self.since.endswith("d"):
            first = (today or datetime.now(UTC).date()) - timedelta(days=int(self.since.rstrip(" d")))
        else:
            first = date.fromisoformat(self.since)
        return ("SINCE", f"{first.day}-{_MONTHS[first.month - 1]}-{first.year}")


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
