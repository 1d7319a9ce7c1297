"""A vendor's REST API in memory: its tables in every way of paging and format, read and written."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from email.utils import formatdate
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from tongqu.kit.answers.selecting import Exact, parsed, written
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

SIZE = 10
"""Records a page where the client does not say how many."""
Reply = tuple[Any, dict[str, str]]


class VendorApi(HttpPeer):
    """Answers `GET /{way}/{table}` for the ways `page offset cursor link next keyset plain ndjson xml csv`, with
    `since=` for rows whose `at` is not less, `GET PUT PATCH DELETE /rows/{table}/{key}`, `POST /rows/{table}` (which
    honours `Idempotency-Key`), `POST /batch/{table}` with a result an item, and `GET /openapi.json`.

    `most` is the largest page it gives, whatever is asked for. `spoil` may change an answer on its way out, by way and
    number of the call, so that it can also be wrong.
    """

    name = "vendor API"

    def __init__(self, *, token: str = "", most: int = 1000) -> None:
        self.token = token
        self.most = most
        self.spoil: Callable[[str, int, Reply], Reply] | None = None
        self.tables: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
        """Rows by the texts of their keys."""
        self.key_of: dict[str, tuple[str, ...]] = {}
        self.known: dict[str, tuple[int, Any]] = {}
        """Answers by idempotency key."""
        self.effects: list[tuple[str, str, str]] = []
        """Every change: method, table, key."""
        self.served: dict[str, bytes] = {}
        """Bodies by target that are given as they are."""
        self.lock = Lock()
        super().__init__()
        self.routes = Everything(self.answered)

    def table(self, name: str, rows: list[dict[str, Any]], key: tuple[str, ...] = ("id",)) -> None:
        """Make or replace a table."""
        with self.lock:
            self.key_of[name] = key
            self.tables[name] = {tuple(str(row[column]) for column in key): row for row in rows}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What a table holds."""
        return list(self.tables.get(name, {}).values())

    # ---- answers

    def answered(self, asked: Asked, out: Out) -> None:
        """Answer one request."""
        if asked.target in self.served:
            out.answer(200, self.served[asked.target], Content_Type="application/json")
            return
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            out.json({"message": "who are you?"}, 401)
            return
        if asked.path == "/openapi.json":
            out.json(self.document())
            return
        _, way, table, *rest = [*map(unquote, urlsplit(asked.target).path.split("/")), "", ""]
        if way in ("rows", "batch"):
            status, body = self._written(asked, way, table, tuple(rest[: len(self.key_of.get(table, ("id",)))]))
            out.json(body, status)
        elif table in self.tables and way in _WAYS:
            self._list(asked, out, way, table)
        else:
            out.json({"message": f"nothing at {asked.path}"}, 404)

    def _list(self, asked: Asked, out: Out, way: str, table: str) -> None:
        query = asked.query | ({k: str(v) for k, v in asked.json().items()} if asked.method == "POST" else {})
        with self.lock:
            rows = self.rows(table)
        if "since" in query:
            rows = [row for row in rows if not _before(row["at"], query["since"])]
        size = min(int(query.get("limit") or query.get("size") or SIZE), self.most)
        reply = _WAYS[way](self, rows, query, size)
        if self.spoil is not None:
            reply = self.spoil(way, len(self.calls), reply)
        body, headers = reply
        data = body if isinstance(body, bytes) else written(_plain(body)).encode()
        headers = {"Content_Type": "application/json", "Date": formatdate(usegmt=True), **headers}
        out.answer(200, data, **headers)

    def page(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """Numbered pages with a total."""
        at = (int(query.get("page") or 1) - 1) * size
        return {"code": 0, "data": {"total": len(rows), "list": rows[at : at + size]}}, {}

    def offset(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """Offsets, and nothing that tells the end."""
        at = int(query.get("offset") or 0)
        return {"items": rows[at : at + size]}, {}

    def cursor(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """Opaque cursors."""
        at = int(base64.b64decode(query["cursor"])) if query.get("cursor") else 0
        after = base64.b64encode(str(at + size).encode()).decode() if at + size < len(rows) else None
        return {"items": rows[at : at + size], "meta": {"next_cursor": after}}, {}

    def link(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """A Link header (RFC 8288)."""
        at = int(query.get("from") or 0)
        more = at + size < len(rows)
        since = f"&since={query['since']}" if "since" in query else ""
        link = f'<?from={at + size}&limit={size}{since}>; rel="next", </>; rel="up"'
        return rows[at : at + size], {"Link": link} if more else {}

    def next(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """A URL in the body."""
        at = int(query.get("$skip") or 0)
        found: dict[str, Any] = {"value": rows[at : at + size]}
        if at + size < len(rows):
            found["@odata.nextLink"] = f"{self.url}/next/items?$skip={at + size}&limit={size}"
        return found, {}

    def keyset(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """After the last record's key."""
        ordered = sorted(rows, key=lambda row: int(row["id"]))
        after = [row for row in ordered if "after" not in query or row["id"] > int(query["after"])]
        return {"result": {"list": after[:size]}}, {}

    def plain(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """All at once."""
        del query, size
        return rows, {}

    def ndjson(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """A line a record."""
        del query, size
        lines = [written(_plain(row)).encode() + b"\n" for row in rows]
        return b"".join(lines), {"Content_Type": "application/x-ndjson"}

    def xml(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """Elements, by offsets."""
        at = int(query.get("offset") or 0)
        items = ["".join(f"<{k}>{escape(_text(v))}</{k}>" for k, v in row.items()) for row in rows[at : at + size]]
        body = "".join(f"<row>{item}</row>" for item in items)
        return f"<rows>{body}</rows>".encode(), {"Content_Type": "application/xml; charset=utf-8"}

    def csv(self, rows: list[Any], query: Mapping[str, str], size: int) -> Reply:
        """A header and rows, by pages."""
        at = (int(query.get("page") or 1) - 1) * size
        out = io.StringIO()
        names = list(rows[0]) if rows else ["id"]
        writer = csv.writer(out)
        writer.writerows([names, *([_text(row[name]) for name in names] for row in rows[at : at + size])])
        return out.getvalue().encode(), {"Content_Type": "text/csv"}

    # ---- changes

    def _written(self, asked: Asked, way: str, table: str, key: tuple[str, ...]) -> tuple[int, Any]:
        known = asked.headers.get("idempotency-key", "")
        with self.lock:
            if known and known in self.known and asked.method == "POST":
                return self.known[known]
            body: dict[str, Any]
            sent = parsed(asked.body) if asked.body else {}
            if way == "batch":
                status, body = 207, {"results": [self._changed("POST", table, (), item) for item in sent]}
            else:
                body = self._changed(asked.method, table, key if any(key) else (), sent)
                status = int(body["status"])
            if known:
                self.known[known] = (status, body)
            return status, body

    def _changed(self, method: str, table: str, key: tuple[str, ...], row: dict[str, Any]) -> dict[str, Any]:
        """One change; a row whose `v` is `bad` is refused."""
        rows = self.tables.setdefault(table, {})
        names = self.key_of.setdefault(table, ("id",))
        key = key or tuple(str(row.get(name, "")) for name in names)
        if method == "GET":
            return {**_plain(rows[key]), "status": 200} if key in rows else {"status": 404, "message": "no such row"}
        if row.get("v") == "bad":
            return {"status": 422, "message": "v must not be bad"}
        if method == "POST" and key in rows:
            return {"status": 409, "message": f"{', '.join(key)} is there already"}
        if method in ("PATCH", "DELETE") and key not in rows:
            return {"status": 404, "message": "no such row"}
        created = key not in rows
        if method == "DELETE":
            rows.pop(key)
        else:
            rows[key] = {**rows.get(key, {}), **row} if method == "PATCH" else row
        self.effects.append((method, table, ", ".join(key)))
        return {"status": 201 if created else 200, "id": ", ".join(key)}

    # ---- document

    def document(self) -> dict[str, Any]:
        """An OpenAPI document of the tables, as lists by pages."""
        paths: dict[str, Any] = {}
        schemas: dict[str, Any] = {}
        for name in self.tables:
            first = next(iter(self.rows(name)), {})
            properties = {column: _described(value) for column, value in first.items()}
            schemas[name] = {"type": "object", "required": list(self.key_of[name]), "properties": properties}
            listed = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
            held = {"type": "object", "properties": {"total": {"type": "integer"}, "list": listed}}
            whole = {"type": "object", "properties": {"code": {"type": "integer"}, "data": held}}
            ask = [
                {"name": "page", "in": "query", "description": "页码", "schema": {"type": "integer", "default": 1}},
                {"name": "size", "in": "query", "schema": {"type": "integer", "maximum": self.most}},
            ]
            answer = {"description": "", "content": {"application/json": {"schema": whole}}}
            paths[f"/page/{name}"] = {"get": {"parameters": ask, "responses": {"200": answer}}}
        info = {"title": "Vendor", "version": "1"}
        return {
            "openapi": "3.0.3",
            "info": info,
            "servers": [{"url": self.url}],
            "paths": paths,
            "components": {"schemas": schemas},
        }


class Everything(dict[str, Callable[[Asked, Out], None]]):
    """Routes of which all lead to one handler."""

    def __init__(self, handler: Callable[[Asked, Out], None]):
        super().__init__()
        self._handler = handler

    def get(self, path: str, default: Any = None) -> Any:
        del path, default
        return self._handler


_WAYS: dict[str, Callable[[VendorApi, list[Any], Mapping[str, str], int], Reply]] = {
    "page": VendorApi.page, "offset": VendorApi.offset, "cursor": VendorApi.cursor, "link": VendorApi.link,
    "next": VendorApi.next, "keyset": VendorApi.keyset, "plain": VendorApi.plain, "ndjson": VendorApi.ndjson,
    "xml": VendorApi.xml, "csv": VendorApi.csv,
}  # fmt: skip


def _plain(value: Any) -> Any:
    """A value as JSON has it: decimals as numbers, bytes as base64, times as ISO 8601."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_plain(held) for held in value]
    if isinstance(value, Exact):
        return value
    if isinstance(value, Decimal):
        return Exact.of(f"{value:f}")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value if value is None or isinstance(value, str | int | float) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat().replace("+00:00", "Z")
    return "" if value is None else str(value)


def _before(value: Any, since: str) -> bool:
    return float(value) < float(since) if isinstance(value, int | float | Decimal) else _text(value) < since


def _described(value: Any) -> dict[str, Any]:
    kinds = {bool: "boolean", int: "integer", float: "number", Decimal: "number", dict: "object", list: "array"}
    formats = {datetime: "date-time", date: "date"}
    format_ = {"format": formats[type(value)]} if type(value) in formats else {}
    return {"type": kinds.get(type(value), "string"), **format_}


def main() -> None:
    """`python -m tongqu.testing.services.vendor_api FILE NAME`: serves a Parquet file's rows as prepared pages of 1,000
    (`/page/NAME?page=N`), prints its address, and ends with its input."""
    import sys

    from pyarrow import parquet

    rows = parquet.read_table(sys.argv[1])
    with VendorApi() as api:
        for at in range(0, rows.num_rows + 1000, 1000):
            held = [_plain(row) for row in rows.slice(at, 1000).to_pylist()]
            body = written({"total": rows.num_rows, "items": held}).encode()
            number = at // 1000 + 1
            api.served[f"/page/{sys.argv[2]}?page={number}"] = body
            if number == 1:
                api.served[f"/page/{sys.argv[2]}"] = body
        print(api.url, flush=True)  # noqa: T201  # the one who started it reads it
        sys.stdin.read()


if __name__ == "__main__":
    main()
