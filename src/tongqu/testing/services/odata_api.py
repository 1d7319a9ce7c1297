"""An OData service over tables in memory, version 2 or 4: server paging, delta links, tokens for changes, ETags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr

from tongqu.kit.answers.selecting import parsed, written
from tongqu.testing.services.http_peer import Asked, Handler, HttpPeer, Out
from tongqu.testing.services.odata_batch import answer_batch

_PLACE = re.compile(r"/svc/([^/()]+)(?:\((.*)\))?", re.DOTALL)
_PART = re.compile(r"(?:([^=,']+)=)?((?:\w*)'(?:[^']|'')*'|[^,']*)(?:,|$)")
_GE = re.compile(r"\(?(\S+) (ge|ne) (.+?)\)?")
_NAMESPACES = {
    2: 'xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx" Version="1.0"',
    4: 'xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0"',
}


class _Everywhere(dict[str, Handler]):
    """One handler for all paths."""

    def __init__(self, handler: Handler):
        super().__init__()
        self._handler = handler

    def get(self, key: str, default: Any = None) -> Any:
        del key, default
        return self._handler


class ODataApi(HttpPeer):
    """Answers below `/svc`. `columns` are the property types of each set (`Edm.Decimal;12;3` with precision and scale),
    `page` the most entities of one answer (0: all)."""

    name = "OData service"

    def __init__(self, version: int = 4, *, page: int = 0, csrf: bool = False, guarded: bool = False):
        self.version, self.page, self.csrf, self.guarded = version, page, csrf, guarded
        self.columns: dict[str, dict[str, str]] = {}
        self.key_of: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
        self.log: list[tuple[str, tuple[str, ...]]] = []
        """Every change: set, key."""
        self.token = "T1"  # noqa: S105  # of a mock
        self.forgotten = False
        """Whether delta links are no longer known."""
        self.batches: tuple[str, ...] = ("multipart", "json")
        """How batches may come."""
        self.goes_on = True
        """Whether a batch goes on after an error where that is asked for."""
        self.tags: dict[tuple[str, ...], int] = {}
        self.lock = Lock()
        super().__init__()
        self.routes = _Everywhere(self._route)

    @property
    def root(self) -> str:
        """The service's address."""
        return f"{self.url}/svc"

    def table(self, name: str, columns: Mapping[str, str], key: tuple[str, ...]) -> None:
        """Make an entity set, or add properties to it."""
        self.columns.setdefault(name, {}).update(columns)
        self.key_of.setdefault(name, key)
        self.rows.setdefault(name, {})

    def put(self, name: str, **row: Any) -> None:
        """Put an entity in place."""
        key = tuple(_plain(row[column]) for column in self.key_of[name])
        self.rows[name][key] = row
        self._changed(name, key)

    def drop(self, name: str, *key: str) -> None:
        """Take an entity away."""
        del self.rows[name][key]
        self._changed(name, key)

    def _changed(self, name: str, key: tuple[str, ...]) -> None:
        self.log.append((name, key))
        self.tags[key] = self.tags.get(key, 0) + 1

    # ---- answers

    def _route(self, asked: Asked, out: Out) -> None:
        with self.lock:
            if asked.path.rstrip("/") == "/svc":
                self._welcome(asked, out)
            elif asked.path == "/svc/$metadata":
                out.answer(200, self._metadata().encode(), Content_Type="application/xml")
            elif asked.path == "/svc/$batch" and asked.method == "POST":
                self._batched(asked, out)
            elif (place := _PLACE.fullmatch(unquote(asked.path))) and place[1] in self.columns:
                if asked.method != "GET" and self.csrf and not self._allowed(asked):
                    out.json(self._error("CSRF token validation failed"), 403, x_csrf_token="Required")  # noqa: S106
                else:
                    self._inner(asked, out)
            else:
                out.json(self._error(f"Resource not found for {asked.path}"), 404)

    def _batched(self, asked: Asked, out: Out) -> None:
        """A batch; the lock is held. Its calls need no token of their own."""
        kind = asked.headers.get("content-type", "")
        if ("json" if "json" in kind else "multipart") not in self.batches:
            out.json(self._error("batches are not supported so"), 415)
            return
        if self.csrf and not self._allowed(asked):
            out.json(self._error("CSRF token validation failed"), 403, x_csrf_token="Required")  # noqa: S106
            return
        goes_on = self.version == 2 or (self.goes_on and "continue-on-error" in asked.headers.get("prefer", ""))
        answer_batch(asked, out, self._inner, self._saved, goes_on=goes_on)

    def _inner(self, asked: Asked, out: Out) -> None:
        place = _PLACE.fullmatch(unquote(asked.path))
        if place is None or place[1] not in self.columns:
            out.json(self._error(f"Resource not found for {asked.path}"), 404)
        elif place[2] is None:
            self._of_set(place[1], asked, out)
        else:
            self._of_entity(place[1], self._key(place[1], place[2]), asked, out)

    def _saved(self) -> Callable[[], None]:
        """Keeps all rows as they are now; what it gives brings them back."""
        rows, log, tags = {name: dict(held) for name, held in self.rows.items()}, list(self.log), dict(self.tags)

        def restore() -> None:
            for name, held in rows.items():
                self.rows[name] = held
            self.log[:], self.tags = log, tags

        return restore

    def _welcome(self, asked: Asked, out: Out) -> None:
        headers = {"Set_Cookie": "SAP_SESSION=one; path=/"}
        if self.csrf and asked.headers.get("x-csrf-token", "").lower() == "fetch":
            headers["x_csrf_token"] = self.token
        out.json({"d": {"EntitySets": list(self.columns)}}, 200, **headers)

    def _allowed(self, asked: Asked) -> bool:
        return asked.headers.get("x-csrf-token") == self.token and "SAP_SESSION=one" in asked.headers.get("cookie", "")

    def _error(self, message: str) -> dict[str, Any]:
        said: Any = {"lang": "en", "value": message} if self.version == 2 else message
        return {"error": {"code": "X/1", "message": said}}

    def _metadata(self) -> str:
        types, sets = [], []
        for name, columns in self.columns.items():
            keys = "".join(f"<PropertyRef Name={quoteattr(one)}/>" for one in self.key_of[name])
            properties = []
            for column, edm in columns.items():
                kind, _, rest = edm.partition(";")
                facets = ' Precision="{}" Scale="{}"'.format(*rest.split(";")) if rest else ""
                fixed = ' ConcurrencyMode="Fixed"' if self.guarded else ""
                properties.append(f'<Property Name={quoteattr(column)} Type="{kind}"{facets}{fixed}/>')
            types.append(f'<EntityType Name="{name}_T"><Key>{keys}</Key>{"".join(properties)}</EntityType>')
            sets.append(f'<EntitySet Name="{name}" EntityType="N.{name}_T"/>')
        sets = sets or ['<EntitySet Name="Nothing" EntityType="N.Nothing_T"/>']
        types = types or ['<EntityType Name="Nothing_T"><Property Name="a" Type="Edm.String"/></EntityType>']
        return (
            f"<edmx:Edmx {_NAMESPACES[self.version]}><edmx:DataServices>"
            f'<Schema Namespace="N">{"".join(types)}<EntityContainer Name="C">{"".join(sets)}</EntityContainer>'
            "</Schema></edmx:DataServices></edmx:Edmx>"
        )

    def _of_set(self, name: str, asked: Asked, out: Out) -> None:
        if asked.method == "POST":
            row = parsed(asked.body)
            key = tuple(_plain(row.get(column)) for column in self.key_of[name]) or (str(len(self.rows[name])),)
            if key in self.rows[name]:
                out.json(self._error("there is an entity of that key"), 400)
                return
            self.rows[name][key] = row
            self._changed(name, key)
            self._send(out, self._one(row), 201)
            return
        self._listed(name, asked, out)

    def _listed(self, name: str, asked: Asked, out: Out) -> None:
        query, preferred = asked.query, asked.headers.get("prefer", "")
        token = query.get("$deltatoken", query.get("!deltatoken", "").strip("'") or None)
        if token is not None and self.forgotten:
            out.json(self._error("the delta token has expired"), 410)
            return
        rows = (
            self._delta(name, int(token)) if token else [row for row in self.rows[name].values() if _fits(row, query)]
        )
        column, _, order = query.get("$orderby", "").partition(" ")
        if order:
            rows.sort(key=lambda row: _order(row.get(column)), reverse=order == "desc")
        size = re.search(r"maxpagesize=(\d+)", preferred)
        most = min(filter(None, (self.page, int(size[1]) if size else 0)), default=0)
        start = int(query.get("$skiptoken", 0)) + int(query.get("$skip", 0))
        end = len(rows) if "$top" not in query else min(len(rows), start + int(query["$top"]))
        part = rows[start : min(end, start + most) if most else end]
        answer: dict[str, Any] = {"@odata.context": "$metadata"} if self.version == 4 else {}
        after = start + len(part)
        link = ""
        if after < end:
            kept = "&".join(f"{k}={v}" for k, v in query.items() if k not in ("$skiptoken", "$skip"))
            link = f"{self.root}/{name}?{kept}&$skiptoken={after}"
        elif "track-changes" in preferred or token is not None:
            told = {4: ("@odata.deltaLink", "$deltatoken={}"), 2: ("__delta", "!deltatoken='{}'")}[self.version]
            answer[told[0]] = f"{self.root}/{name}?{told[1].format(len(self.log))}"
        if self.version == 2:
            self._send(out, {"d": {"results": part, **answer, **({"__next": link} if link else {})}})
        else:
            self._send(out, {**answer, "value": part, **({"@odata.nextLink": link} if link else {})})

    def _delta(self, name: str, since: int) -> list[dict[str, Any]]:
        changed = dict.fromkeys(key for of, key in self.log[since:] if of == name)
        return [self.rows[name].get(key) or self._gone(name, key) for key in changed]

    def _gone(self, name: str, key: tuple[str, ...]) -> dict[str, Any]:
        """A deleted entity, as each version tells it."""
        parts = [f"{column}='{value}'" for column, value in zip(self.key_of[name], key, strict=True)]
        place = f"{self.root}/{name}({','.join(parts) if len(parts) > 1 else key[0]})"
        if self.version == 2:
            return {"__metadata": {"id": place, "uri": place, "deleted": True}}
        return {"@removed": {"reason": "deleted"}, "@id": place}

    def _of_entity(self, name: str, key: tuple[str, ...], asked: Asked, out: Out) -> None:
        row = self.rows[name].get(key)
        if row is None and asked.method != "PATCH":
            out.json(self._error("there is no such entity"), 404)
            return
        tag = f'W/"{self.tags.get(key, 0)}"'
        if asked.method == "GET":
            self._send(out, self._one(row), 200, **({"ETag": tag} if self.guarded else {}))
            return
        if self.guarded and row is not None and asked.headers.get("if-match") != tag:
            status = 412 if "if-match" in asked.headers else 428
            out.json(self._error("the entity was changed"), status)
            return
        if asked.method == "DELETE":
            del self.rows[name][key]
        else:
            named = dict(zip(self.key_of[name], key, strict=True))
            self.rows[name][key] = {**(row or named), **parsed(asked.body)}
        self._changed(name, key)
        out.answer(204 if row is not None else 201)

    def _one(self, row: Any) -> Any:
        return {"d": row} if self.version == 2 else row

    @staticmethod
    def _send(out: Out, value: Any, status: int = 200, /, **headers: str) -> None:
        out.answer(status, written(value).encode(), **{"Content_Type": "application/json", **headers})

    def _key(self, name: str, inside: str) -> tuple[str, ...]:
        found = {called or self.key_of[name][0]: value for called, value in _PART.findall(inside) if called or value}
        return tuple(_unquoted(found.get(column, "")) for column in self.key_of[name])


def _unquoted(literal: str) -> str:
    found = re.fullmatch(r"\w*'(.*)'", literal, re.DOTALL)
    return found[1].replace("''", "'") if found else literal.rstrip("LMdf") if literal[:1].isdigit() else literal


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else written(value)


def _fits(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    for one in query.get("$filter", "").split(" and "):
        found = _GE.fullmatch(one)
        if (
            found
            and found[2] == "ge"
            and (row.get(found[1]) is None or _order(row[found[1]]) < _order(_unquoted(found[3])))
        ):
            return False
        if found and found[2] == "ne" and row.get(found[1]) is None:
            return False
    return True


def _order(value: Any) -> tuple[float, str]:
    """Null comes before all others (OData 4.01, `$orderby`); instants of version 2 are compared as ISO 8601."""
    if value is None:
        return float("-inf"), ""
    if ticks := re.match(r"/Date\((-?\d+)", str(value)):
        value = datetime.fromtimestamp(int(ticks[1]) / 1000, UTC).replace(tzinfo=None).isoformat()
    try:
        return float(value), ""
    except (TypeError, ValueError):
        return 0.0, str(value).removesuffix("Z")
