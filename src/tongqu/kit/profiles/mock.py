"""A mock of the API that a profile describes: the same credentials, the same pages, the same failures."""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tongqu.kit.profiles.expanding import expanded
from tongqu.kit.profiles.paging import paged, put
from tongqu.kit.profiles.profile import Profile
from tongqu.kit.profiles.signed import well_signed

_HOLE = re.compile(r"\{(\w+)\}")
_KEYS = re.compile(r"[\w.]*")
"""The keys before the first bracket of a path to records."""


@dataclass(frozen=True)
class Asked:
    """A request; names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The parameters, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def document(self) -> dict[str, Any]:
        """The body's fields: of a form or of a JSON object; none of anything else."""
        if "x-www-form-urlencoded" in self.headers.get("content-type", ""):
            return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    body: Any


class MockApi:
    """Answers calls as the API of a profile would, with the profile's sample rows; `address` is where it is reached.

    What it checks: path and method, that the credentials are those of the profile's examples and the token one that it
    gave, and that no parameter of a dataset is left out. It is made of the same file as the connection that calls it,
    so it shows that the connector does what the file says, and nothing about the vendor's own servers.
    """

    def __init__(self, profile: Profile, address: str):
        self.profile = profile
        self.address = address.rstrip("/")
        self.values: dict[str, Any] = {
            "profile": profile.name,
            "base_url": self.address + urlsplit(str(profile.connection.get("base_url", ""))).path.rstrip("/"),
            **{name: asked.example for name, asked in profile.settings.items() if asked.example != asked.default},
        }
        """The settings of a connection to this mock."""
        self.calls: list[Asked] = []
        self.busy = 0
        """So many calls for data are answered with the code that says too many came."""
        self.revoked = False
        """Whether the tokens given until now are refused."""
        self._settings = expanded(profile, self.values)
        self._outcome: dict[str, Any] = self._settings.get("outcome") or {}
        self._auth: dict[str, Any] = self._settings.get("auth") or {}
        self._tokens: set[str] = set()

    def answer(self, asked: Asked) -> Told:
        """The answer to a request."""
        self.calls.append(asked)
        if self.revoked:
            self._tokens.clear()
            self.revoked = False
        way = self._auth.get("token") or self._auth.get("oauth2")
        if way and asked.path == urlsplit(way.get("url") or way.get("token_url", "")).path:
            return self._token(asked, way)
        lists: dict[str, dict[str, Any]] = self._settings["datasets"]
        known = [(name, one, values) for name, one in lists.items() if (values := self._at(asked, one)) is not None]
        if not known:
            return self._failed("missing", 404, f"nothing at {asked.method} {asked.path}")
        if not self._allowed(asked):
            return self._failed("auth", 401, "the credentials or the token are not valid")
        if self.busy:
            self.busy -= 1
            return self._failed("limited", 429, "too many calls")
        wrong = ""
        for name, one, values in known:
            wrong = _wrong(asked, one, self._paging(one))
            if not wrong:
                return self._page(asked, name, one, {**values, **_own(asked, one)})
        return self._failed("", 400, wrong)

    # ---- credentials

    def _token(self, asked: Asked, way: Mapping[str, Any]) -> Told:
        said = {**asked.query, **asked.document()}
        if "token_url" in way:
            wanted = {name: way[name] for name in ("client_id", "client_secret") if way.get(name)}
            wanted["grant_type"] = way.get("grant", "client_credentials")
            user, _, password = _basic(asked).partition(":")
            said |= {"client_id": unquote(user), "client_secret": unquote(password)} if user else {}
        else:
            wanted = {**way.get("query", {}), **way.get("form", {}), **way.get("body", {})}
        wrong = any(str(said.get(name)) != str(value) for name, value in wanted.items())
        if wrong or not well_signed(asked.method, asked.target, asked.body, way.get("signature")):
            return self._failed("auth", 401, "the credentials are not valid")
        token = secrets.token_hex(8)
        self._tokens.add(token)
        body = self._good()
        put(body, way.get("token", "access_token"), token)
        put(body, way.get("expires", "expires_in"), 7200)
        return Told(200, {**body, **self.profile.mock.token})

    def _allowed(self, asked: Asked) -> bool:
        auth = self._auth
        said = asked.headers.get("authorization", "")
        if key := auth.get("api_key"):
            place = asked.query if key.get("in", "header") == "query" else asked.headers
            name = key.get("name", "X-API-Key")
            held = place.get(name if place is not asked.headers else name.lower())
            return bool(held == key.get("prefix", "") + str(key["value"]))
        if basic := auth.get("basic"):
            return _basic(asked) == f"{basic['user']}:{basic['password']}"
        if bearer := auth.get("bearer"):
            return bool(said == f"Bearer {bearer if isinstance(bearer, str) else bearer['token']}")
        if auth.get("oauth2"):
            return said.removeprefix("Bearer ") in self._tokens
        if way := auth.get("token"):
            where = way.get("put") or {"headers": {"Authorization": "Bearer {token}"}}
            return any(self._put(asked, where, token) for token in self._tokens)
        return True

    @staticmethod
    def _put(asked: Asked, where: Mapping[str, Any], token: str) -> bool:
        places = [
            *((asked.headers.get(name.lower()), text) for name, text in where.get("headers", {}).items()),
            *((asked.query.get(name), text) for name, text in where.get("query", {}).items()),
            *((asked.document().get(name), text) for name, text in where.get("body", {}).items()),
        ]
        return all(held == text.replace("{token}", token) for held, text in places)

    # ---- lists

    def _at(self, asked: Asked, one: Mapping[str, Any]) -> dict[str, str] | None:
        """The values in the path if the request is for this list; None if it is not."""
        if asked.method != one.get("method", "GET"):
            return None
        whole = f"{urlsplit(self.values['base_url']).path}/{str(one['path']).partition('?')[0].lstrip('/')}"
        parts = _HOLE.split(whole)
        pattern = "".join(f"(?P<{one}>[^/]+)" if number % 2 else re.escape(one) for number, one in enumerate(parts))
        found = re.fullmatch(f"{pattern}(?:/next/\\d+)?", asked.path)
        return found.groupdict() if found else None

    def _page(self, asked: Asked, name: str, one: Mapping[str, Any], values: Mapping[str, str]) -> Told:
        at = {**asked.query, **_flat(asked.document()), "@next": asked.path.partition("/next/")[2]}
        rows = [_plain(row) for row in self.profile.datasets[name].sample if _given(row, values)]
        rows = [row for row in rows if _since(row, one.get("incremental") or {}, at)]
        found, said = paged(self._paging(one), rows, at, self.profile.mock.page_size, asked.path.partition("/next/")[0])
        above = _KEYS.match(str(one.get("records") or ""))
        body = put(self._good(), above[0].strip(".") if above else "", found)
        for place, value in said.items():
            put(body, place, value)
        return Told(200, body)

    def _paging(self, one: Mapping[str, Any]) -> dict[str, Any]:
        return _kind(one.get("paging") or self._settings.get("paging"))

    # ---- envelopes

    def _good(self) -> dict[str, Any]:
        body = json.loads(json.dumps(self.profile.mock.envelope))
        if self._outcome:
            put(body, self._outcome.get("code", "errcode"), (self._outcome.get("ok") or [0])[0])
            put(body, self._outcome.get("message", "errmsg"), "ok")
        return dict(body)

    def _failed(self, kind: str, status: int, words: str) -> Told:
        """A failure as this API tells it: by its own code with status 200 where the profile has one, else by status."""
        codes = self._outcome.get(kind) if kind else None
        if not codes:
            return Told(status, {"message": words, "status": HTTPStatus(status).phrase})
        body = self._good()
        put(body, self._outcome.get("code", "errcode"), codes[0])
        put(body, self._outcome.get("message", "errmsg"), words)
        return Told(200, body)


def _own(asked: Asked, one: Mapping[str, Any]) -> dict[str, str]:
    """The parent's values that a request gives in query or body."""
    said = {**asked.query, **_flat(asked.document())}
    told = {**_flat(one.get("body") or {}), **dict(parse_qsl(urlsplit(str(one["path"])).query))}
    names = {key: hole[1] for key, text in told.items() if (hole := _HOLE.fullmatch(str(text)))}
    return {name: str(said[key]) for key, name in names.items() if key in said}


def _wrong(asked: Asked, one: Mapping[str, Any], paging: Mapping[str, Any]) -> str:
    """What is wrong with a request for a list; nothing if it is as the profile has it."""
    if "/next/" in asked.path:
        return ""
    holes = set(_HOLE.findall(str(one["path"])))
    params = {name: _text(value) for name, value in one.get("params", {}).items() if name not in holes}
    wanted: dict[str, Any] = {**params, **dict(parse_qsl(urlsplit(str(one["path"])).query))}
    said: dict[str, Any] = dict(asked.query)
    if one.get("method") == "POST":
        wanted |= _flat(one.get("body") or {})
        said |= _flat(asked.document())
    told = one.get("incremental") or {}
    moving = {paging.get("param"), paging.get("size_param"), told.get("param"), told.get("until_param")}
    for name, value in wanted.items():
        if name not in said:
            return f"{name} is missing"
        if said[name] != value and name not in moving and not _HOLE.fullmatch(str(value)):
            return f"{name} is not what this list is asked with"
    return ""


def _kind(paging: Any) -> dict[str, Any]:
    return {"kind": paging} if isinstance(paging, str) else dict(paging or {})


def _flat(document: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of nested objects by keys with points between them."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _given(row: Any, values: Mapping[str, str]) -> bool:
    """Whether a sample row is for these values of a parent."""
    own = {key[1:]: value for key, value in row.items() if key.startswith("@")} if isinstance(row, Mapping) else {}
    return all(str(value) == values.get(name) for name, value in own.items())


def _plain(row: Any) -> Any:
    return {key: value for key, value in row.items() if not key.startswith("@")} if isinstance(row, Mapping) else row


def _since(row: Any, told: Mapping[str, Any], at: Mapping[str, Any]) -> bool:
    """Whether a row is among the changed ones that were asked for; texts of times are compared as they stand."""
    least, most = at.get(told.get("param", "")), at.get(told.get("until_param", ""))
    held = str(row.get(told["cursor"])) if told and isinstance(row, Mapping) else ""
    return (least is None or held >= str(least)) and (most is None or held <= str(most))


def _basic(asked: Asked) -> str:
    """User and password of a request, with a colon between them."""
    kind, _, text = asked.headers.get("authorization", "").partition(" ")
    try:
        return b64decode(text, validate=True).decode() if kind == "Basic" else ""
    except ValueError:
        return ""


def _text(value: Any) -> str:
    return "true" if value is True else "false" if value is False else str(value)
