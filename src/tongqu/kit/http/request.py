"""A call made ready to be sent: its one address, its parameters, its headers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote_plus, urljoin, urlsplit

from tongqu.core.errors import AnswerError, InvalidSettingsError
from tongqu.kit.egress.place import Place
from tongqu.kit.http.call import Call, Grant, Repeat
from tongqu.kit.http.inflate import ACCEPTED
from tongqu.kit.http.pool import Origin
from tongqu.kit.http.settings import HttpSettings

_PATH = "/%:@!$&'()*+,;=~-._"
_QUERY = _PATH + "?"
_TRAVELS = {"accept", "accept-language", "content-type", "user-agent", "range"}
"""Headers that go along to another host."""
_READING = {"GET", "HEAD", "OPTIONS", "TRACE"}
_SAFE = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}
FORM = "application/x-www-form-urlencoded"
READING = {"GET", "HEAD"}
"""Methods that redirects are followed for and whose answers are kept."""


@dataclass(frozen=True)
class Request:
    """What goes over the wire. `path` and `fixed` are percent-encoded, `query` is not."""

    method: str
    origin: Origin
    path: str
    fixed: str = ""
    """The query that stood in the URL."""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: Path | None = None
    """What is sent instead of `body`."""
    signed: bool = False
    """Whether the connection's credentials go along."""

    @property
    def place(self) -> str:
        """Scheme, host and path: fit for messages, no parameters."""
        return f"{self.origin.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        plain = self.origin.port == (443 if self.origin.scheme == "https" else 80)
        return host if plain else f"{host}:{self.origin.port}"

    @property
    def target(self) -> str:
        """Path and query as sent."""
        query = "&".join(part for part in (self.fixed, encoded(self.query)) if part)
        return f"{self.path}?{query}" if query else self.path

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.origin.scheme}://{self.authority}{self.target}"

    def pairs(self) -> list[tuple[str, str]]:
        """All query parameters, decoded."""
        return [*parse_qsl(self.fixed, keep_blank_values=True), *self.query]

    def header(self, name: str) -> str:
        """A header's value; empty if there is none."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), "")

    def plus(self, headers: Mapping[str, str] | None = None, query: Sequence[tuple[str, str]] = ()) -> Request:
        """With headers and query parameters that replace those of the same name."""
        made = self
        if headers:
            new = {k.lower() for k in headers}
            kept = {k: v for k, v in self.headers.items() if k.lower() not in new}
            made = replace(made, headers={**kept, **headers})
        if query:
            names = {name for name, _ in query}
            fixed = "&".join(
                part for part in self.fixed.split("&") if unquote_plus(part.partition("=")[0]) not in names
            )
            others = [pair for pair in self.query if pair[0] not in names]
            made = replace(made, fixed=fixed, query=(*others, *query))
        return made


def with_fields(request: Request, fields: Mapping[str, str]) -> Request:
    """The request with fields added to its body; raises InvalidSettingsError if that is no JSON object and no form."""
    if not fields:
        return request
    if request.header("Content-Type").startswith(FORM):
        added = encoded(list(fields.items())).encode()
        return replace(request, body=request.body + b"&" + added if request.body else added)
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidSettingsError(
            f"credentials cannot be put into the body of {request.method} {request.place}",
            hint="it is neither a JSON object nor a form; put them into headers or the query",
            path="auth",
        )
    text = json.dumps({**body, **fields}, ensure_ascii=False)
    return replace(request, body=text.encode()).plus(
        {"Content-Type": request.header("Content-Type") or "application/json"}
    )


def encoded(pairs: Sequence[tuple[str, str]]) -> str:
    """Query parameters as RFC 3986 writes them."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)


def repeat_of(call: Call) -> Repeat:
    """Whether the call may be made again."""
    if call.repeat is not None:
        return call.repeat
    if call.key:
        return Repeat.KEYED
    return Repeat.SAFE if call.method.upper() in _SAFE else Repeat.NEVER


@lru_cache(256)
def _parsed(url: str) -> tuple[str, Place]:
    return urlsplit(url).scheme.lower(), Place.of_url(url)


def changes(call: Call) -> bool:
    """Whether somebody must know if the call had its effect: it writes, and its caller did not call it safe."""
    return call.repeat is not Repeat.SAFE and call.method.upper() not in _READING


def origin_of(url: str, grant: Grant) -> Origin:
    """The origin of a URL; raises InvalidSettingsError, or AnswerError where the URL came from data."""
    try:
        scheme, place = _parsed(url)
    except ValueError as error:
        kind = AnswerError if grant is Grant.DATA else InvalidSettingsError
        raise kind(f"this address cannot be called: {error}") from None
    return Origin(scheme, place.host, place.port, grant)


def request_of(call: Call, settings: HttpSettings, agent: str) -> Request:
    """The request that a call means. Headers and parameters of the connection go to its own host only."""
    origin = origin_of(call.url, call.grant)
    own = origin.own == origin_of(settings.base_url, Grant.OPERATOR).own
    if own:
        origin = origin._replace(grant=Grant.OPERATOR)
    signed = own and not call.anonymous
    path, fixed = _target(call.url)
    headers = {"Accept": "*/*", "Accept-Encoding": ACCEPTED, "User-Agent": agent}
    request = Request(
        call.method.upper(), origin, path, fixed, tuple(call.params), headers, call.body, call.file, signed
    )
    if signed:
        given = {name for name, _ in request.pairs()} if settings.query else set()
        request = request.plus(settings.headers, [(k, v) for k, v in settings.query.items() if k not in given])
    if call.key and own:
        request = request.plus({settings.idempotency_header: call.key})
    return request.plus(call.headers if own or call.grant is Grant.OPERATOR else _travelling(call.headers))


def redirected(request: Request, location: str, own: tuple[str, str, int]) -> Request:
    """The request that a redirect asks for. Its address is data; on another host it goes without credentials, and a
    step from https down to http is refused."""
    try:
        url = urljoin(request.url, location)
    except ValueError:
        raise AnswerError(f"{request.place} redirects to something that is no address") from None
    origin = origin_of(url, Grant.DATA)
    if request.origin.scheme == "https" and origin.scheme == "http":
        raise AnswerError(f"{request.place} redirects to an address without TLS")
    path, fixed = _target(url)
    same = origin.own == request.origin.own
    kept = request.headers if same else _travelling(request.headers)
    return replace(
        request,
        origin=origin._replace(grant=Grant.OPERATOR) if origin.own == own else origin,
        path=path,
        fixed=fixed,
        query=(),
        headers={**kept, "Accept-Encoding": ACCEPTED},
        signed=request.signed and same,
    )


def _travelling(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that another host may see: those that a user wrote may hold keys."""
    return {k: v for k, v in headers.items() if k.lower() in _TRAVELS}


def _target(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    stray = re.compile(r"%(?![0-9A-Fa-f]{2})")
    return (
        stray.sub("%25", quote(parts.path or "/", safe=_PATH)),
        stray.sub("%25", quote(parts.query, safe=_QUERY)),
    )
