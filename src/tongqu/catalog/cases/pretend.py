"""Pretends to be the system that a document describes: answers that conform, records that are kept, refusals."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tongqu.catalog.cases.exchanges import answers, body_of, good_status, guarded, schema_of
from tongqu.catalog.cases.fitting import violations
from tongqu.catalog.cases.shelves import Shelf, Shelves, listed
from tongqu.catalog.cases.values import Maker, NoValueError, normal
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.document import Document, Operation, as_mapping
from tongqu.kit.openapi.schemas import flat

TOKEN = "mock"  # noqa: S105  # everybody may know it
"""What the mock takes for valid credentials: bearer token, key, user and password."""


@dataclass(frozen=True)
class Said:
    """An answer; the body is JSON unless the status has none."""

    status: int
    value: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if self.status == 204 or self.value is None:
            return b""
        return json.dumps(self.value, ensure_ascii=False).encode()


class Pretend:
    """A system made of its document. Lists hold three records at first, which calls create, change and delete; all of
    it is the same for the same `seed`. Calls that the document does not allow are refused as it describes (400 or 422,
    401, 404, 405). Thread-safe; holds everything in memory.
    """

    def __init__(self, document: Document, *, seed: int = 1, token: str = TOKEN):
        self.document = document
        self._token = token
        self._maker = Maker(document, f"{seed}/mock", answer=True)
        self._lock = Lock()
        self._operations: dict[str, dict[str, Operation]] = {}
        for operation in document.operations():
            self._operations.setdefault(operation.path, {})[operation.method] = operation
        self._patterns = sorted(
            ((re.compile("/?" + re.sub(r"\\{[^/]+?\\}", "([^/]+)", re.escape(path.strip("/"))) + "/?"), path)
             for path in self._operations), key=lambda one: (one[1].count("{"), one[1]),
        )  # fmt: skip
        self._shelves = Shelves(self._maker, self._operations)
        self._keyed: dict[tuple[str, str], Said] = {}
        self.base = urlsplit(document.base_url()).path.rstrip("/")
        """The path below which the system answers."""

    def values(self, path: str) -> dict[str, str]:
        """Values for the braces of a path by which something is found here."""
        with self._lock:
            return self._shelves.values(path)

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Said:
        """The answer to a request; names of headers are in lower case."""
        parts = urlsplit(target)
        found = self._find(parts.path)
        if found is None:
            return _wrong(404, "not_found", f"nothing at {parts.path}")
        path, given = found
        methods = self._operations[path]
        operation = methods.get("get" if method == "HEAD" else method.lower())
        if operation is None:
            return Said(405, _problem("method", f"{method} is not allowed"), {"Allow": ", ".join(methods).upper()})
        query = parse_qsl(parts.query, keep_blank_values=True)
        if guarded(self.document, operation) and not self._known(headers, query):
            return Said(401, _problem("unauthorised", "no valid credentials"), {"WWW-Authenticate": "Bearer"})
        refused = self._refused(operation, given, dict(query), headers)
        body: Any = None
        if refused is None and body_of(self.document, operation) is not None:
            body, refused = self._body(operation, content)
        if refused is not None:
            return refused
        with self._lock:
            key = headers.get("idempotency-key", "")
            if key and (operation.label, key) in self._keyed:
                return self._keyed[(operation.label, key)]
            said = self._done(operation, given, dict(query), body)
            if key:
                self._keyed[(operation.label, key)] = said
        return said

    def _find(self, path: str) -> tuple[str, dict[str, str]] | None:
        below = path.removeprefix(self.base) if self.base and path.startswith(f"{self.base}/") else path
        for pattern, template in self._patterns:
            found = pattern.fullmatch(below)
            if found:
                names = re.findall(r"\{([^}]+)\}", template)
                return template, dict(zip(names, map(unquote, found.groups()), strict=False))
        return None

    def _known(self, headers: Mapping[str, str], query: list[tuple[str, str]]) -> bool:
        """Whether valid credentials came along, wherever the document wants them."""
        both = f"{self._token}:{self._token}"
        basic = base64.b64encode(both.encode()).decode()
        if headers.get("authorization", "") in (f"Bearer {self._token}", f"Basic {basic}", self._token):
            return True
        raw = self.document.raw
        schemes = as_mapping(raw.get("securityDefinitions")) or as_mapping(
            as_mapping(raw.get("components")).get("securitySchemes")
        )
        for node in schemes.values():
            told = as_mapping(self.document.resolved(node))
            name = str(told.get("name") or "")
            if told.get("type") != "apiKey" or not name:
                continue
            place = told.get("in")
            if place == "header" and headers.get(name.lower()) == self._token:
                return True
            if place == "query" and (name, self._token) in query:
                return True
            if place == "cookie" and f"{name}={self._token}" in headers.get("cookie", ""):
                return True
        return False

    def _refused(
        self, operation: Operation, given: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Said | None:
        """The refusal of parameters that the document does not allow; None if all are good."""
        sources = {"path": given, "query": query, "header": headers}
        for one in operation.parameters:
            name, where = str(one.get("name") or ""), str(one.get("in"))
            if where not in sources:
                continue
            text = sources[where].get(name.lower() if where == "header" else name)
            if text is None:
                if one.get("required") is True and where != "path":
                    return self._bad(operation, name, "missing")
                continue
            told = violations(self.document, read(self.document, text, schema_of(one)), schema_of(one))
            if told:
                return self._bad(operation, name, told[0][1])
        return None

    def _bad(self, operation: Operation, name: str, wrong: str) -> Said:
        described = answers(self.document, operation)
        status = 422 if "422" in described and "400" not in described else 400
        return _wrong(status, "invalid", f"{name}: {wrong}")

    def _body(self, operation: Operation, content: bytes) -> tuple[Any, Said | None]:
        told = body_of(self.document, operation)
        if told is None or (not content and not told.required):
            return None, None
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return None, self._bad(operation, "body", "missing" if not content else "no JSON")
        wrong = violations(self.document, body, told.schema)
        return body, self._bad(operation, *wrong[0]) if wrong else None

    def _done(self, operation: Operation, given: Mapping[str, str], query: Mapping[str, str], body: Any) -> Said:
        """The effect and the answer of a call that is allowed."""
        status = good_status(self.document, operation)
        schema = answers(self.document, operation).get(str(status))
        missing = self._shelves.missing(operation.path, given)
        if missing:
            return _wrong(404, "not_found", f"there is no {missing}")
        shelf = self._shelves.shelf(operation.path, given)
        if shelf is None:
            return Said(status, self._made(schema))
        if not shelf.item:
            return self._at_list(operation, shelf.shelf, query, body, schema)
        rows, key = shelf.shelf.rows, shelf.key
        if key not in rows:
            return _wrong(404, "not_found", f"there is no {key}")
        if operation.method == "delete":
            row = rows.pop(key)
            return Said(status, self._shown(row, schema) if schema is not None else None)
        if operation.method in ("put", "patch", "post") and isinstance(body, dict):
            keep = rows[key] if operation.method != "put" else {shelf.shelf.key: rows[key].get(shelf.shelf.key)}
            rows[key] = {**keep, **body}
        return Said(status, self._shown(rows[key], schema) if schema is not None else None)

    def _at_list(self, operation: Operation, shelf: Shelf, query: Mapping[str, str], body: Any, schema: Any) -> Said:
        status = good_status(self.document, operation)
        if operation.method == "get":
            whole = list(shelf.rows.values())
            first, size = self._page(operation, query)
            value = listed(self._maker, schema, whole[first : first + size], len(whole))
            return Said(status, value if not self._maker.violations(value, schema) else self._made(schema))
        if operation.method == "post" and isinstance(body, dict):
            row = shelf.add(body)
            where = f"{self.base}/{operation.path.strip('/')}/{quote(str(row[shelf.key]), safe='')}"
            return Said(status, self._shown(row, schema) if schema is not None else None, {"Location": where})
        return Said(status, self._made(schema))

    def _page(self, operation: Operation, query: Mapping[str, str]) -> tuple[int, int]:
        """The first record of the page that is asked for, and how many."""
        roles = {words.role(one): one for one in operation.parameters if one.get("in") == "query"}
        told = {what: query.get(str(one.get("name"))) for what, one in roles.items()}
        size = int(text) if (text := told.get(words.SIZE) or "").isdigit() else 20
        if (text := told.get(words.OFFSET) or "").isdigit():
            return int(text), size
        page = int(text) if (text := told.get(words.PAGE) or "").isdigit() else None
        if page is None:
            return 0, size
        start = flat(self.document, schema_of(roles[words.PAGE])).raw
        first = 0 if start.get("minimum", start.get("default", 1)) == 0 else 1
        return max(0, page - first) * size, size

    def _shown(self, row: Mapping[str, Any], schema: Any) -> Any:
        """A record as the answer's schema wants it: itself where it fits, else in what is made for the schema."""
        if not self._maker.violations(dict(row), schema):
            return dict(row)
        made = self._made(schema)
        if isinstance(made, dict):
            inner = next((name for name, one in made.items() if isinstance(one, dict) and set(one) & set(row)), None)
            known = {name: value for name, value in row.items() if name in made}
            whole = {**made, inner: {**made[inner], **row}} if inner and not known else {**made, **known}
            return whole if not self._maker.violations(whole, schema) else made
        return made

    def _made(self, schema: Any) -> Any:
        if schema is None:
            return None
        try:
            return normal(self._maker, schema)
        except NoValueError:
            return None


def read(document: Document, text: str, schema: Any) -> Any:
    """A parameter's text as the value that its schema speaks of; the text itself where it is none."""
    told = flat(document, schema)
    if told.type in ("integer", "number"):
        try:
            return int(text) if re.fullmatch(r"-?\d{1,18}", text) else float(text)
        except ValueError:
            return text
    if told.type == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if told.type == "array":
        return [read(document, one, told.items) for one in text.split(",")]
    return text


def _wrong(status: int, code: str, message: str) -> Said:
    return Said(status, _problem(code, message))


def _problem(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
