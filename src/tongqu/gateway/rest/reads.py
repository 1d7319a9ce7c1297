"""GET and HEAD: a page of rows, or one row by its key, in the representation and range that were asked for."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from urllib.parse import parse_qsl, quote

from tongqu.gateway.asking import Ask, Condition, Joined
from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Headers, Notes, Reply, Request
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.reading import Answer, Reader, decided
from tongqu.gateway.rest import xml
from tongqu.gateway.rest.formats import Form, form
from tongqu.gateway.rest.keys import key_condition, segment_values, visible_key
from tongqu.gateway.rest.patterns import marked, row, slotted, split
from tongqu.gateway.rest.preferences import preferences
from tongqu.gateway.rest.query import words
from tongqu.gateway.rest.ranges import content_range, status, within
from tongqu.gateway.rest.shaping import asked_format, shaped
from tongqu.gateway.rewrite.views import view_of

_VARY = ("vary", "Accept, Authorization, Prefer, Range, Tongqu-After")
_MOST = 2048
_LONG = 1000
"""Characters of a query beyond which it is not kept what it asks."""
_ALL = Ask()
_SAFE = "%&=+,.:()*!$-_~/?@;'"
_SAFE_PATH = "/%,"
_PLAIN = {safe: re.compile(rf"[A-Za-z0-9_.~{re.escape(safe)}-]*") for safe in (_SAFE, _SAFE_PATH)}


async def got(
    request: Request, api: Api, segment: str | None, decision: Decision, *, reader: Reader, tags: Tags
) -> Reply:
    """The answer to a GET or HEAD of all rows (`segment` None) or of the row of a key; `decision` allows reading."""
    if request.query == "xsd" and segment is None:
        return _schema(request, api)
    wish = preferences(request.headers.get("prefer", ""), writing=False)
    told = form(request.headers.get("accept", ""))
    ask, answer = await _answered(request, api, segment, decision, told=told, reader=reader)
    if segment is not None:
        if answer.rows != 1:
            raise Problem("row.unknown" if not answer.rows else "row.single")
        told = replace(told, shape="object") if told.shape == "json" else told
    code = 200 if segment is not None or told.shape == "object" else _status(ask, answer)
    body = shaped(answer.body, answer.rows, told, api)
    tag = tags.tag(answer.body, answer.decision, _variant(told, segment))
    headers: Headers = [("etag", tag), ("cache-control", _caching(answer)), _VARY, *_from_cache(request.notes)]
    if tags.same(request.headers.get("if-none-match", ""), tag):
        return Reply(304, headers)
    headers += [("content-type", told.media), *_paging(request, ask, answer, segment), *wish.header()]
    request.notes.bytes = len(body)
    return Reply(code, headers, b"" if request.method == "HEAD" else body)


async def _answered(
    request: Request, api: Api, segment: str | None, decision: Decision, *, told: Form, reader: Reader
) -> tuple[Ask, Answer]:
    """What is asked, and the answer: by the pattern of the question where nothing but its values is new."""
    format, notes, within = asked_format(told), request.notes, request.publication
    found = _patterned(request, api, segment, decision, told)
    if found is not None and reader.repeats(api, decision, found[0]):
        return found[0], await reader.repeat(api, decision, found, format, request)
    ask = _asked(request, api, segment, told)
    return ask, await reader.read(api, request.actor, ask, format, notes, within=within, again=True)


def _patterned(
    request: Request, api: Api, segment: str | None, decision: Decision, told: Form
) -> tuple[Ask, list[str]] | None:
    """The question with slots, and their values; None where it is to be read as a whole."""
    headers, single = request.headers, told.shape == "object"
    if "tongqu-after" in headers or api.parameters:
        return None
    if segment is not None:
        if request.query:
            return None
        key = visible_key(api, decision)
        return _single(_ALL, row(key)), segment_values(key, segment)
    found = split(request.query)
    if found is None or len(found[0]) > _LONG:
        return None
    span = headers.get("range", ""), headers.get("range-unit", "")
    try:
        ask = _pattern(found[0], headers.get("prefer", ""), span, single)
    except Problem:
        return None  # it is told of the question as it came
    return None if ask is None else (ask, found[1])


@lru_cache(maxsize=_MOST)
def _pattern(pattern: str, prefer: str, span: tuple[str, str], single: bool) -> Ask | None:
    """What a pattern asks; the very same object for the same pattern."""
    query, count = marked(pattern)
    return slotted(_question.__wrapped__(query, (), prefer, "", span, single), count)


def _asked(request: Request, api: Api, segment: str | None, told: Form) -> Ask:
    headers = request.headers
    known = _question if len(request.query) <= _LONG else _question.__wrapped__
    ask = known(
        request.query,
        tuple(api.parameters),
        headers.get("prefer", ""),
        headers.get("tongqu-after", ""),
        (headers.get("range", ""), headers.get("range-unit", "")),
        told.shape == "object",
    )
    if segment is None:
        return ask
    return _single(ask, key_condition(api, decided(api, request.actor, "read"), segment))


@lru_cache(maxsize=_MOST)
def _question(  # noqa: PLR0917  everything that a question is made of
    query: str, parameters: tuple[str, ...], prefer: str, after: str, span: tuple[str, str], single: bool
) -> Ask:
    """What is asked; the very same object for the same words, by which its rewriting is found again."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
    found = words(pairs, parameters)
    if found.columns is not None or found.on_conflict:
        raise Problem("query.malformed", "`columns` and `on_conflict` belong to writes")
    ask = replace(found.ask, count=preferences(prefer, writing=False).count, after=after)
    ask = within(ask, *span)
    return replace(ask, limit=2) if single and (ask.limit is None or ask.limit > 2) else ask


_SINGLES: OrderedDict[tuple[int, int], tuple[Ask, Ask, Condition]] = OrderedDict()


def _single(ask: Ask, where: Condition) -> Ask:
    """The question for the row of a key; the same object for the same two."""
    found = _SINGLES.get((id(ask), id(where)))
    if found is None:
        made = replace(ask, where=both(where, ask.where), limit=2, offset=0, after="", count="none")
        found = _SINGLES[id(ask), id(where)] = (made, ask, where)
        if len(_SINGLES) > _MOST:
            _SINGLES.popitem(last=False)
    return found[0]


def both(one: Condition, other: Condition | None) -> Condition:
    """Both conditions."""
    return one if other is None else Joined("and", (one, other))


def _variant(told: Form, segment: str | None) -> str:
    return replace(told, shape="json").variant if told.shape == "object" and segment is not None else told.variant


def _status(ask: Ask, answer: Answer) -> int:
    return status(answer.offset, answer.rows, answer.total) if not ask.after else 200


def _caching(answer: Answer) -> str:
    return "private, no-cache" if answer.cacheable else "private, no-store"


def _from_cache(notes: Notes) -> Headers:
    """What the gateway's own cache did (RFC 9211), and how old the answer is."""
    if not notes.cache:
        return []
    if notes.cache in ("hit", "stale"):
        told = "hit" if notes.cache == "hit" else "hit; detail=stale"
        return [("cache-status", f"tongqu; {told}"), ("age", str(notes.more.get("age", 0)))]
    return [("cache-status", f"tongqu; fwd={notes.cache}")]


def _paging(request: Request, ask: Ask, answer: Answer, segment: str | None) -> Headers:
    if segment is not None:
        return []
    total = "*" if answer.total is None else str(answer.total)
    span = f"*/{total}" if ask.after else content_range(answer.offset, answer.rows, answer.total)
    headers: Headers = [("content-range", span), ("range-unit", "items")]
    if answer.next:
        target = _quoted(request.target.partition("?")[0] or request.path, _SAFE_PATH)
        query = f"?{_quoted(request.query, _SAFE)}" if request.query else ""
        headers += [
            ("tongqu-next", answer.next),
            ("link", f'<{target}{query}>; rel="next"; tongqu-after="{answer.next}"'),
        ]
    return headers


def _quoted(text: str, safe: str) -> str:
    plain = _PLAIN[safe].fullmatch(text)
    return text if plain else quote(text, safe=safe)


def _schema(request: Request, api: Api) -> Reply:
    decision = decided(api, request.actor, "read")
    request.notes.api, request.notes.version, request.notes.action = api.name, api.version, "describe"
    fields = [seen.field for seen in view_of(api, decision).fields.values()]
    body = xml.schema(api, fields)
    headers: Headers = [
        ("content-type", "application/xml; charset=utf-8"),
        ("cache-control", "private, no-cache"),
        _VARY,
    ]
    return Reply(200, headers, b"" if request.method == "HEAD" else body)
