"""Reads the place that a URL or a host and port mean, in one spelling only: whoever else reads it means the same."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The schemes that calls are made with, and their ports."""

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AMBIGUOUS = frozenset("ßς\u200c\u200d")
"""Characters that the two versions of IDNA translate differently."""
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
"""Scripts that have letters of the same shape; a label written in two of them means to be misread."""


@dataclass(frozen=True)
class Place:
    """Where to connect: `host` is a lower-case ASCII name without final dot, or an IP address as `ipaddress` prints it;
    `port` is 1 to 65535."""

    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Place:
        """The place in its one spelling; raises ValueError saying what is wrong with it."""
        if not 1 <= port <= 65535:
            raise ValueError(f"port {port} is not between 1 and 65535")
        return cls(host_of(host), port)

    @classmethod
    def of_url(cls, url: str) -> Place:
        """The place that an http(s) or ws(s) URL means; raises ValueError for what two readers might read differently
        (user and password, control characters, backslashes, spellings of IP addresses)."""
        bad = next((c for c in url if c <= " " or c == "\\" or unicodedata.category(c) in _UNSEEN), None)
        if bad is not None:
            raise ValueError(f"the URL holds the character U+{ord(bad):04X}")
        found = _URL.match(url)
        if found is None:
            raise ValueError("this is no absolute URL")
        scheme = found["scheme"].lower()
        if scheme not in PORTS:
            raise ValueError(f"the scheme {scheme!r} is not one of {', '.join(PORTS)}")
        if "@" in found["authority"]:
            raise ValueError("the URL holds a user or password")
        parts = _AUTHORITY.fullmatch(found["authority"])
        if parts is None:
            raise ValueError("host and port cannot be told apart")
        return cls.of(parts["host"], int(parts["port"] or PORTS[scheme]))

    @property
    def address(self) -> Address | None:
        """The IP address it is written as; None if it is a name."""
        return literal(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})


def literal(host: str) -> Address | None:
    """The IP address that a host in its one spelling is; None if it is a name."""
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        return None


def host_of(host: str) -> str:
    """The host in its one spelling; raises ValueError for one that has no meaning or several.

    IPv4 addresses are four decimal numbers and nothing else (as WHATWG's URL standard, a name that ends in a number
    is taken for an address); IPv6 addresses have no zone; names in other scripts become their ASCII form (IDNA), but
    not if they merely look like ASCII.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare:
        return _ipv6(bare)
    if bare != host:
        raise ValueError(f"{host!r} is no IPv6 address")
    name = (bare if bare.isascii() else _ascii(bare)).lower()
    last = name.removesuffix(".").rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        return _ipv4(name)
    name = name.removesuffix(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"{host!r} is no host name")
    return name


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not how an IPv4 address is written (four decimal numbers)") from None


def _ipv6(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no IPv6 address") from None


def _ascii(host: str) -> str:
    if unicodedata.normalize("NFKC", host).isascii() or any(dot in host for dot in "。．｡"):
        raise ValueError(f"{host!r} only looks like ASCII")
    if _AMBIGUOUS & set(host):
        raise ValueError(f"{host!r} means two different names")
    for label in host.split("."):
        scripts = {unicodedata.name(c, "?").split()[0] for c in label if c.isalpha()} & _ALIKE
        if len(scripts) > 1:
            raise ValueError(f"{label!r} mixes letters of {' and '.join(sorted(s.capitalize() for s in scripts))}")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{host!r} is no host name") from None
