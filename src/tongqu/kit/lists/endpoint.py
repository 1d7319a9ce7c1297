"""One list of an API: the calls that read it, page by page, and what its records look like."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from threading import Event, Lock
from typing import Any, Literal
from urllib.parse import quote

from tongqu.core.data import Position
from tongqu.core.errors import (
    AnswerError,
    CallRefusedError,
    NotFoundError,
    PeerFailedError,
    PrivilegeError,
    SchemaError,
)
from tongqu.kit.answers.cutting import Cutting, Lines
from tongqu.kit.answers.guessing import records_at
from tongqu.kit.answers.paging import Answer, Pager, PagingSettings
from tongqu.kit.answers.rows import Rows, Shape, as_utf8, xml_lines
from tongqu.kit.answers.selecting import Selection, parsed, selection
from tongqu.kit.answers.walking import Page, Walk
from tongqu.kit.http.call import Call, Grant, Repeat, Reply
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.lists.settings import ListSettings
from tongqu.kit.openapi.vocabulary import SIZE, role

_Same = tuple[str, str, tuple[tuple[str, str], ...], bytes]
Form = Literal["json", "ndjson", "xml", "csv"]
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_UTF8 = ("", "utf-8", "utf8", "ascii", "us-ascii", "iso-8859-1")
"""Character sets that JSON is sent under when it is UTF-8 (RFC 8259 knows no other)."""
_ACCEPT: dict[str | None, str] = {
    "xml": "application/xml, text/xml",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson, application/jsonl",
}


@dataclass(frozen=True)
class Bounds:
    """What a walk is narrowed to: values for the path's braces, and parameters of an incremental read."""

    values: Mapping[str, Any] = field(default_factory=dict)
    params: tuple[tuple[str, str], ...] = ()


class EmptyListError(SchemaError):
    """Nothing came and no field is known."""


class Endpoint:
    """Reads one dataset's pages. Threads may share it."""

    def __init__(self, name: str, settings: ListSettings, http: Http, paging: PagingSettings, sample_pages: int):
        self.name = name
        self.settings = settings
        self.paging = with_size(settings.paging or paging, settings.params)
        self.where = f"{name} ({http.url(settings.path).partition('?')[0]})"
        self._http = http
        self._sample_pages = sample_pages
        self._lock = Lock()
        self._selection = None if settings.records is None else selection(settings.records, f"datasets.{name}.records")
        self._lists: tuple[str, ...] = settings.repeats
        self._csv = False
        self._rows: Rows | None = None
        self._sampled: dict[_Same, tuple[bytes, Answer]] = {}
        self._own = own_parameters(http.settings)
        self.clock = ""
        """The date that the last answer told; while a sample is kept for the read, that of its first page, since what
        has changed since then is not in it."""

    # ---- calls

    def call(self, state: Position, bounds: Bounds, pager: Pager, stop: Event | None = None) -> Call:
        """The call for the page of a state. A page's own URL comes from data, so the egress rules bind it."""
        settings = self.settings
        asked = pager.asking(state)
        headers = {"Accept": _ACCEPT.get(settings.format, "application/json, */*;q=0.5"), **settings.headers}
        more: list[tuple[str, Any]] = [*bounds.params, *asked.params]
        body = b""
        if settings.method == "POST":
            document = _filled(settings.body, bounds.values) if settings.body is not None else {}
            for name, value in more:
                _put(document, name, value)
            body, more = json.dumps(document, ensure_ascii=False).encode(), []
            headers["Content-Type"] = "application/json"
        holes = set(re.findall(r"\{(\w+)\}", settings.path))
        fixed = [(name, _text(value)) for name, value in settings.params.items() if name not in holes]
        url, grant = asked.url, Grant.DATA
        if not url:
            values = {**settings.params, **bounds.values}
            path = re.sub(r"\{(\w+)\}", lambda m: quote(_text(values[m[1]]), safe=""), settings.path)
            url, grant = self._http.url(path), Grant.OPERATOR
        given = {name for name, _ in more}
        params = [] if asked.url else [one for one in fixed if one[0] not in given]
        params += [] if asked.url else [(name, _text(value)) for name, value in more]
        return Call(
            settings.method, url, tuple(params), headers, body, Repeat.SAFE, grant=grant, stop=stop,
            keep_seconds=settings.cache_seconds,
        )  # fmt: skip

    def fetch(self, state: Position, bounds: Bounds, pager: Pager, stop: Event | None = None) -> tuple[bytes, Answer]:
        """The page of a state: its records as lines, their nested values as text if `texts` (CSV as it is), and what
        else it said."""
        return self._page(state, bounds, pager, stop, texts=self.texts)

    @property
    def texts(self) -> bool:
        """Whether nested values are text in the lines of a page."""
        return self.settings.nested == "json"

    def _page(
        self, state: Position, bounds: Bounds, pager: Pager, stop: Event | None, *, texts: bool
    ) -> tuple[bytes, Answer]:
        call = self.call(state, bounds, pager)
        with self._lock:
            kept = self._sampled.pop(_same(call), None) if self._sampled else None
        if kept is not None:
            lines, answer = kept
            if texts and not self._csv:
                lines = Shape().lines(lines)
                answer = replace(answer, content=lines if answer.envelope is not None else answer.content)
            return lines, answer
        reply = self._http.send(replace(call, stop=stop))
        if not self._sampled:
            self.clock = reply.headers.get("date", self.clock)
        form = self._form(reply.headers, reply.content)
        return self._cut(reply, texts) if form == "json" else self._lines(reply, form, texts)

    def _cut(self, reply: Reply, texts: bool) -> tuple[bytes, Answer]:
        """A JSON page."""
        body = reply.content
        if _charset(reply.headers).lower() not in _UTF8:
            body = as_utf8(body, _charset(reply.headers), self.where)
        cut = Cutting([body], self._wanted(body), self.where, texts=texts, errors=self.settings.errors)
        lines = b"".join(cut)
        return lines, Answer(cut.count, cut.envelope, reply.headers, reply.url, cut.last, lines)

    def _lines(self, reply: Reply, form: Form, texts: bool) -> tuple[bytes, Answer]:
        """A page of another format."""
        body = as_utf8(reply.content, _charset(reply.headers), self.where)
        if form == "csv":
            self._csv = True
            return body, Answer(self._csv_count(body), None, reply.headers, reply.url, b"", body)
        if form == "xml":
            path, learn = self.settings.records or "", self._rows is None
            lines, self._lists = xml_lines(body, path, self._lists, self.where, learn=learn)
        else:
            lines = body if body.endswith(b"\n") or not body else body + b"\n"
        count = sum(1 for line in lines.splitlines() if line.strip())
        last = lines[lines.rfind(b"\n", 0, len(lines) - 1) + 1 :].strip()
        answer = Answer(count, None, reply.headers, reply.url, last, body)
        return Shape().lines(lines) if texts else lines, answer

    def _csv_count(self, body: bytes) -> int:
        """Records below the header; only whether there are any decides about the end, so quoted line ends may count."""
        return max(sum(1 for line in body.splitlines() if line.strip()) - 1, 0)

    @contextmanager
    def streamed(self, bounds: Bounds, pager: Pager, stop: Event, *, texts: bool) -> Iterator[Iterable[bytes] | None]:
        """The only page of a list, as blocks of lines while it arrives; None where it must be read whole (XML, CSV,
        records chosen by an expression)."""
        call = replace(self.call(pager.first(), bounds, pager), stop=stop)
        with self._http.stream(call) as answer:
            self.clock = answer.headers.get("date", self.clock)
            form, wanted = self._form(answer.headers, b"{"), self._selection
            if form == "ndjson":
                blocks = Lines(answer.chunks, self.where)
                yield (Shape().lines(block) for block in blocks) if texts else blocks
            elif form == "json" and wanted is not None and wanted.keys is not None:
                yield Cutting(answer.chunks, wanted, self.where, texts=texts, errors=self.settings.errors)
            else:
                yield None

    def _form(self, headers: Mapping[str, str], body: bytes) -> Form:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        begins = body[:200].lstrip()
        if "html" in kind or begins[:9].lower() == b"<!doctype" or begins[:5].lower() == b"<html":
            raise AnswerError(
                f"{self.where}: the answer is a page for people ({kind or 'HTML'}), not data", path=self.where,
                hint="is the path right, and does the login hold? A proxy or a login page may have answered",
            )  # fmt: skip
        if self.settings.format is not None:
            return self.settings.format
        if kind in ("application/x-ndjson", "application/jsonl", "application/json-seq", "application/jsonlines"):
            return "ndjson"
        if kind.endswith(("/xml", "+xml")) or begins[:1] == b"<":
            return "xml"
        return "csv" if kind == "text/csv" else "json"

    def _wanted(self, body: bytes) -> Selection:
        if self._selection is None:
            try:
                found = records_at(parsed(body))
            except (ValueError, RecursionError):
                found = ()
            if found is None:
                raise AnswerError(f"{self.where}: the answer holds no records", path=self.where, hint="set records=")
            self._selection = Selection(".".join(found), found)
        return self._selection

    def question(self) -> str:
        """A text that changes when other records are asked for: path, parameters but those of pages, body, place."""
        told = self.settings
        params = {name: value for name, value in told.params.items() if not role({"name": name})}
        asked = [told.path, told.method, params, told.body, told.records]
        return blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()

    # ---- pages

    def pager(self) -> Pager:
        """A new walk."""
        return Pager(self.paging, self.where, self._own)

    def walk(
        self,
        state: Position | None,
        bounds: Bounds,
        pager: Pager | None = None,
        asked: Future[tuple[bytes, Answer]] | None = None,
    ) -> Generator[Page, None, None]:
        """The pages from a state on (None: the first), by a new pager or one that has come there, which may have the
        page of the state already."""
        pager = pager or self.pager()
        walk = Walk(pager, lambda at, stop: self.fetch(at, bounds, pager, stop), self.paging.parallel)
        return walk.pages(state or pager.first(), asked)

    def streams(self) -> bool:
        """Whether the whole list is one answer, which is then read while it arrives."""
        told = self.settings.format
        known = told == "ndjson" or (told in (None, "json") and self._selection is not None)
        return self.paging.kind == "none" and known and not self._sampled

    # ---- records

    def others(self) -> Literal["error", "ignore"]:
        """What unknown fields mean."""
        return self.settings.others or ("ignore" if self.settings.fields else "error")

    def shape(self, inside: tuple[str, ...] = ()) -> Shape:
        """How its nested values are taken apart."""
        return Shape(self.settings.nested, inside, tuple(self.settings.key))

    def rows(self, bounds: Bounds | None) -> Rows:
        """How its records become rows: as declared, or by the first pages (asked for within `bounds`; None: they cannot
        be asked for). Raises what the calls raise, and SchemaError where the key is no field, or no field is known
        because nothing came. Where a document's fields cannot be compared with a page, they are taken as they are."""
        if self._rows is None:
            settings = self.settings
            if settings.fields:
                fields = {**settings.fields, **settings.types}
                found = Rows.declared(fields, self.shape(), settings.key, others=self.others())
                if not settings.trust and bounds is not None:
                    with suppress(CallRefusedError, NotFoundError, PrivilegeError, PeerFailedError):
                        found = found.corrected(self.sample(bounds))
            else:
                found = self._learnt([] if bounds is None else self.sample(bounds), self.shape())
            self._rows = found.described(settings.titles, settings.classes, settings.units)
        return self._rows

    def child(self, inside: tuple[str, ...], bounds: Bounds | None) -> Rows:
        """How the elements of an array of its records become rows."""
        return self._learnt([] if bounds is None else self.sample(bounds), self.shape(inside))

    def _learnt(self, lines: list[bytes], shape: Shape) -> Rows:
        settings = self.settings
        if not any(lines):
            raise EmptyListError(
                f"{self.where} is empty, so its fields are not known", path=self.name,
                hint=f"name them: datasets.{self.name}.fields: {{id: int64, …}}",
            )  # fmt: skip
        plain = lines[0].lstrip()[:1] if lines else b""
        if plain and (settings.format == "csv" or (not settings.format and plain != b"{")):
            return Rows.of_csv(lines[0], settings.key, settings.types)
        types = settings.types if not shape.inside else {}
        return Rows.learnt(lines, shape, shape.keys(), types, others=self.others())

    def sample(self, bounds: Bounds) -> list[bytes]:
        """The records of the first pages; they are kept, so that the read that follows need not ask again."""
        pager = self.pager()
        state: Position | None = pager.first()
        lines: list[bytes] = []
        kept: dict[_Same, tuple[bytes, Answer]] = {}
        if self.streams():
            with self.streamed(bounds, pager, Event(), texts=False) as cut:
                if cut is not None:
                    return [next(iter(cut), b"")]
        begun = ""
        for _ in range(self._sample_pages):
            if state is None:
                break
            call = self.call(state, bounds, pager)
            found, answer = kept[_same(call)] = self._page(state, bounds, pager, None, texts=False)
            begun = begun or self.clock
            lines.append(found)
            state = pager.after(state, answer)
        with self._lock:
            self._sampled = kept
            self.clock = begun
        return lines


def own_parameters(connection: HttpSettings) -> frozenset[str]:
    """The query parameters that the connection adds to every call by itself."""
    names = set(connection.query)
    auth = connection.auth
    if auth is not None:
        names |= {auth.api_key.name} if auth.api_key is not None and auth.api_key.in_ == "query" else set()
        names |= set(auth.token.put.query) if auth.token is not None else set()
        names |= set(auth.signature.put.query) if auth.signature is not None else set()
    return frozenset(names)


def with_size(paging: PagingSettings, params: Mapping[str, Any]) -> PagingSettings:
    """Paging that knows the page size which the parameters ask for by themselves (`?limit=50`)."""
    for name, value in params.items():
        if not paging.size and role({"name": name}) == SIZE and str(value).isdigit():
            return paging.model_copy(update={"size": int(value)})
    return paging


def _same(call: Call) -> _Same:
    """What makes two calls the same question."""
    return call.method, call.url, tuple(call.params), call.body


def _charset(headers: Mapping[str, str]) -> str:
    found = _CHARSET.search(headers.get("content-type", ""))
    return found[1] if found else ""


def _text(value: Any) -> str:
    return "true" if value is True else "false" if value is False else str(value)


def _filled(body: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a body in which texts `"{name}"` are the parent's values."""
    if isinstance(body, Mapping):
        return {name: _filled(one, values) for name, one in body.items()}
    if isinstance(body, list):
        return [_filled(one, values) for one in body]
    hole = re.fullmatch(r"\{(\w+)\}", body) if isinstance(body, str) else None
    return values[hole[1]] if hole and hole[1] in values else body


def _put(document: Any, name: str, value: Any) -> None:
    """Put a value at keys with points between them; where a number stands, a text becomes one."""
    *above, last = name.split(".")
    for key in above:
        document = document.setdefault(key, {})
    held = document.get(last)
    number = isinstance(held, int | float) and not isinstance(held, bool) and isinstance(value, str)
    document[last] = type(held)(value) if number else value
