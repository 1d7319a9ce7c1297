"""Signs calls by a template: what is signed, by which digest, and where the signature goes."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, quote

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.http.auth_settings import Signature
from tongqu.kit.http.call import Grant
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.pool import Origin
from tongqu.kit.http.request import FORM, Request, encoded, with_fields

Value = str | bytes

_FIELD = re.compile(r"\{([^{}]+)\}")
_CHINA = timezone(timedelta(hours=8))

_DIGESTS = ("md5", "sha1", "sha256", "sha512", "sm3")
_FILTERS: Final[Mapping[str, Callable[[bytes], Value]]] = {
    "hex": lambda data: data.hex(),
    "HEX": lambda data: data.hex().upper(),
    "base64": lambda data: b64encode(data).decode("ascii"),
    "base64url": lambda data: urlsafe_b64encode(data).decode("ascii"),
    "url": lambda data: quote(data, safe="~"),
    "form": lambda data: quote(data, safe="*-._").replace("%20", "+").replace("~", "%7E"),
    "lower": lambda data: data.decode().lower(),
    "upper": lambda data: data.decode().upper(),
}

_EXAMPLE = Request("GET", Origin("https", "host.example", 443, Grant.OPERATOR), "/")


class Signer:
    """Signs requests as `auth: {signature: …}` says.

    Places in templates: `{method} {host} {path} {query} {body} {timestamp} {date} {day} {nonce} {key_id} {secret}
    {content_type}`, the names under `let`, `{sorted_query}` (encoded by RFC 3986, then sorted), `{pairs}` (all
    parameters of query and form, sorted, as `k1v1k2v2`; `{pairs:=&}` as `k1=v1&k2=v2`), `{header:NAME}`,
    `{headers:PREFIX,NAME}` (sorted lines `name:value`) and `{header_names:PREFIX,NAME}` (`a;b`). Filters follow a bar,
    `{body|sha256|hex}`: the digests `md5 sha1 sha256 sha512 sm3`, `hmac-DIGEST:NAME` with the key in NAME, then `hex
    HEX base64 base64url url form lower upper`.
    What `put` places without `{signature}` is in place before the text is made. Raises InvalidSettingsError for a
    template that names something else.
    """

    def __init__(self, settings: Signature, clock: Clock):
        self._settings = settings
        self._clock = clock
        self.signed(_EXAMPLE)

    def signed(self, request: Request) -> Request:
        """The request with its signature; raises InvalidSettingsError for a body that takes no fields."""
        settings = self._settings
        values: dict[str, Value] = {
            "secret": settings.secret.get_secret_value(),
            "key_id": settings.key_id,
            "timestamp": _timestamp(settings.timestamp, self._clock.now()),
            "date": datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%d"),
            "day": datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%d"),
            "nonce": _nonce(settings.nonce, self._clock),
        }
        request = self._put(request, values, signature=False)
        for name, text in settings.let.items():
            values[name] = self._filled(text, request, values)
        made = _digest(
            settings.digest,
            _bytes(self._filled(settings.text, request, values)),
            lambda: _bytes(self._filled(settings.key, request, values)),
        )
        values["signature"] = _text(_FILTERS[settings.encoding](made))
        return self._put(request, values, signature=True)

    def _put(self, request: Request, values: Mapping[str, Value], *, signature: bool) -> Request:
        """Place what holds the signature, or what does not."""
        put = self._settings.put
        headers, query, body = (
            {k: _text(self._filled(v, request, values)) for k, v in part.items() if ("{signature" in v) == signature}
            for part in (put.headers, put.query, put.body)
        )
        return with_fields(request.plus(headers, list(query.items())), body)

    def _filled(self, template: str, request: Request, values: Mapping[str, Value]) -> Value:
        """The template with its places filled; bytes where it is a single place that gives bytes."""
        single = _FIELD.fullmatch(template)
        if single:
            return self._place(single[1], request, values)
        return _FIELD.sub(lambda found: _text(self._place(found[1], request, values)), template)

    def _place(self, expression: str, request: Request, values: Mapping[str, Value]) -> Value:
        name, *filters = expression.split("|")
        value = values[name] if name in values else _part(name, request)
        for one in filters:
            kind, _, key = one.partition(":")
            if kind.removeprefix("hmac-") in _DIGESTS and (key in values if kind.startswith("hmac-") else not key):
                value = _digest(kind, _bytes(value), partial(_bytes, values.get(key, "")))
            elif kind in _FILTERS and not key:
                value = _FILTERS[kind](_bytes(value))
            else:
                raise _unknown(one)
        return value


def _part(name: str, request: Request) -> Value:
    """What a place other than a named value stands for."""
    kind, _, argument = name.partition(":")
    plain: dict[str, Callable[[], Value]] = {
        "method": lambda: request.method,
        "host": lambda: request.authority,
        "path": lambda: request.path,
        "query": lambda: request.target.partition("?")[2],
        "body": lambda: request.body,
        "content_type": lambda: request.header("Content-Type"),
        "sorted_query": lambda: "&".join(
            sorted((encoded([pair]) for pair in request.pairs()), key=lambda p: p.split("=", 1))
        ),
    }
    if kind in plain and not argument:
        return plain[kind]()
    if kind == "pairs":
        between, joined = argument[:1], argument[1:]
        return joined.join(f"{k}{between}{v}" for k, v in sorted(_parameters(request)))
    if kind == "header" and argument:
        return request.header(argument)
    if kind in ("headers", "header_names") and argument:
        chosen = _headers(request, argument.lower().split(","))
        lines = "".join(f"{k}:{v}\n" for k, v in chosen)
        return lines if kind == "headers" else ";".join(k for k, _ in chosen)
    raise _unknown(name)


def _parameters(request: Request) -> list[tuple[str, str]]:
    if not request.header("Content-Type").startswith(FORM):
        return request.pairs()
    return request.pairs() + parse_qsl(request.body.decode(), keep_blank_values=True)


def _headers(request: Request, wanted: list[str]) -> list[tuple[str, str]]:
    """Headers by name or by a prefix that ends with `-`; `host` counts as one."""
    all_ = {"host": request.authority, **{k.lower(): " ".join(v.split()) for k, v in request.headers.items()}}
    return sorted(
        (k, v) for k, v in all_.items() if any(k == w or (w.endswith("-") and k.startswith(w)) for w in wanted)
    )


def _digest(name: str, data: bytes, key: Callable[[], bytes]) -> bytes:
    if name.startswith("hmac-"):
        return hmac.new(key(), data, name.removeprefix("hmac-")).digest()
    return hashlib.new(name, data).digest()


def _timestamp(kind: str, now: float) -> str:
    instant = datetime.fromtimestamp(now, UTC)
    return {
        "s": lambda: str(int(now)),
        "ms": lambda: str(int(now * 1000)),
        "iso": lambda: instant.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "iso-basic": lambda: instant.strftime("%Y%m%dT%H%M%SZ"),
        "http": lambda: formatdate(now, usegmt=True),
        "local": lambda: instant.astimezone(_CHINA).strftime("%Y-%m-%d %H:%M:%S"),
    }[kind]()


def _nonce(kind: str, clock: Clock) -> str:
    made = clock.unique()
    return {"uuid": str(made), "hex": made.hex, "digits": str(made.int)[:18]}[kind]


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _text(value: Value) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _unknown(name: str) -> InvalidSettingsError:
    return InvalidSettingsError(
        f"a template of the signature names {name!r}, which does not exist", path="auth.signature",
        hint="places and filters are listed in docs/http.md",
    )  # fmt: skip
