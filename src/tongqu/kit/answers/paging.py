"""Pages of an API in order: what is asked for next, where the end is, and when an API goes round in circles."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import unquote_plus, urljoin, urlsplit

from pydantic import model_validator

from tongqu.core.data import Position
from tongqu.core.errors import AnswerError
from tongqu.core.settings import Settings, titled
from tongqu.kit.answers.guessing import guessed
from tongqu.kit.answers.selecting import looked_up

_log = logging.getLogger(__name__)
_RECENT = 4096
_EMPTY = 1000
"""So many empty pages in a row are no end and no data, but an API that goes on for ever."""
_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:\"[^\"]*\"|[^\s;,]+))*)")
_REL = re.compile(r";\s*rel\s*=\s*\"?([^\";,]*)\"?", re.IGNORECASE)

Kind = Literal["auto", "none", "page", "offset", "cursor", "link", "next_url", "keyset"]


class PagingSettings(Settings):
    """How an API cuts a list into pages, and how it says where the list ends."""

    kind: Kind = titled("方式", "Kind", "auto")
    """`page` (page numbers), `offset`, `cursor` (a token out of the answer), `link` (header Link, RFC 8288), `next_url`
    (a URL in the answer), `keyset` (after the last record's value), `none`. `auto`: what the first answer shows, and
    an error if it shows that there is more and not how to get it."""
    param: str = titled("参数", "Parameter", "")
    """The parameter of page number, offset, cursor or last value. Left out: `page`, `offset`, `cursor`, `after`."""
    size_param: str = titled("页大小参数", "Size parameter", "")
    """The parameter that asks for so many records a page."""
    size: int = titled("页大小", "Page size", 0, ge=0)
    """How many records a page should have; 0 leaves it to the API."""
    start: int | None = titled("起始", "Start", None)
    """The first page's number (1) or offset (0)."""
    next: str = titled("下一页", "Next", "")
    """Where the answer holds the next cursor or URL: keys with points between them, or `header:NAME`."""
    field: str = titled("键字段", "Key field", "")
    """Of `keyset`: the field whose last value the next page is after. Records must be sorted by it, and no two may
    share a value."""
    total: str = titled("总数", "Total", "")
    """Where the answer holds the number of all records: keys with points, or `header:X-Total-Count`."""
    pages: str = titled("总页数", "Pages", "")
    """Where the answer holds the number of pages."""
    more: str = titled("还有更多", "More", "")
    """Where the answer says whether there are more (`has_more`)."""
    end: Literal["auto", "short", "empty"] = titled("结束", "End", "auto")
    """What ends page numbers and offsets where the answer says neither total nor more: `empty` an empty page, `short`
    a page with fewer records than asked for, `auto` one with fewer than the first page had."""
    same_page: Literal["error", "keep"] = titled("重复页", "Same page", "error")
    """What the same page twice in a row means: an API that ignores the parameter (`error`), or equal records."""
    parallel: int = titled("并行", "Parallel", 4, ge=1, le=32)
    """How many pages are asked for at once where their numbers are known (page or offset with a total)."""

    @model_validator(mode="after")
    def _told(self) -> Self:
        if self.kind in ("cursor", "next_url") and not self.next:
            raise ValueError(f"{self.kind} needs `next`: where the answer holds it")
        if self.kind == "keyset" and not self.field:
            raise ValueError("keyset needs `field`: the field whose last value the next page is after")
        return self


@dataclass(frozen=True)
class Answer:
    """What one page said, beside its records."""

    count: int
    envelope: Any
    headers: Mapping[str, str]
    url: str
    last: bytes = b""
    """The last record as JSON."""
    content: bytes = b""
    """All its records, in whatever form."""


@dataclass(frozen=True)
class Asked:
    """What a page's call has beside the dataset's own: parameters, or another URL."""

    params: tuple[tuple[str, Any], ...] = ()
    url: str = ""


class Pager:
    """One walk over the pages. A state is plain JSON and names the page to be asked for; the walk can go on from any.

    Raises AnswerError where an API gives the same cursor, link or page again, or never ends.
    """

    def __init__(self, paging: PagingSettings, where: str, own: frozenset[str] = frozenset()):
        """`own` are query parameters that each call gets anyway (a key, a token): they are taken out of URLs that the
        API gives, so that no position holds a secret."""
        self._own = own
        self._paging = paging
        self._where = where
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._known: set[str] = set()
        self._before = b""
        self._empty = 0

    def first(self) -> Position:
        """The state of the first page."""
        kind = self._paging.kind
        start = self._paging.start
        at = {"page": 1, "offset": 0}.get(kind) if start is None else start
        return {"as": kind, "at": at, "rows": 0}

    def asking(self, state: Position) -> Asked:
        """What to ask the API for to get the page of a state."""
        paging, at = self._paging, state["at"]
        size = ((paging.size_param, paging.size),) if paging.size_param and paging.size else ()
        kind = state["as"]
        if kind in ("link", "next_url"):
            return Asked(size) if at is None else Asked(url=at)
        if at is None or kind in ("none", "auto"):
            return Asked(size)
        name = state.get("param") or paging.param or _PARAMS[kind]
        return Asked((*size, (name, at)))

    def after(self, state: Position, answer: Answer) -> Position | None:
        """The state of the page after this one; None at the end."""
        self._guard(answer)
        if state["as"] == "auto":
            return self._guess(state, answer)
        rows = state["rows"] + answer.count
        following = {**state, "rows": rows}
        kind = state["as"]
        if kind == "none" or self._said(answer, self._paging.more) is False:
            return None
        if kind in ("page", "offset"):
            return self._counted(state, following, answer)
        if kind == "keyset":
            return self._keyset(state, following, answer)
        at = self._token(state, answer)
        if at is None or at == "":
            self._ended(state, answer)
            return None
        at = at if isinstance(at, str) else json.dumps(at, ensure_ascii=False)
        if kind in ("link", "next_url"):
            at = _absolute(answer.url, at, self._own)
        if at == state["at"] and not answer.count:
            return None
        self._new(at, kind)
        return {**following, "at": at}

    def ahead(self, state: Position, answer: Answer) -> Iterator[Position] | None:
        """The states of all pages after this one, where their number is known; else None."""
        kind, paging = state["as"], self._paging
        if kind not in ("page", "offset") or not answer.count or paging.parallel == 1:
            return None
        total, pages = self._number(answer, paging.total), self._number(answer, paging.pages)
        if total is None and (pages is None or kind == "offset"):
            return None
        first = paging.start if paging.start is not None else int(kind == "page")
        size = state.get("size", answer.count)
        if total is not None and kind == "offset":
            return self._steps(state, answer.count, range(state["at"] + answer.count, first + total, answer.count))
        count = pages if pages is not None else -(-(total or 0) // size)
        return self._steps(state, size, range(state["at"] + 1, first + count))

    @staticmethod
    def _steps(state: Position, size: int, places: range) -> Iterator[Position]:
        for number, at in enumerate(places, 1):
            yield {**state, "at": at, "size": size, "rows": state["rows"] + number * size}

    # ---- each kind

    def _counted(self, state: Position, following: Position, answer: Answer) -> Position | None:
        paging, step = self._paging, 1 if state["as"] == "page" else answer.count
        size = max(state.get("size", 0), answer.count)
        following = {**following, "at": state["at"] + step, "size": size}
        total, pages = self._number(answer, paging.total), self._number(answer, paging.pages)
        first = paging.start if paging.start is not None else int(state["as"] == "page")
        if not answer.count:
            if self._announced(state["at"] - first, state, total, pages):
                raise self.gap(state, "the answer counts more records than that")
            if total is not None and state["rows"] < total:
                _log.warning("%s ended after %s of %s records", self._where, state["rows"], total)
            return None
        if self._said(answer, paging.more) is True:
            return following
        if pages is not None and state["as"] == "page":
            return following if state["at"] + 1 < first + pages else None
        if total is not None:
            return following if following["rows"] < total else None
        asked = paging.size if paging.end == "short" and paging.size else 0
        short = answer.count < (asked or state.get("size", 0))
        return None if short and paging.end != "empty" else following

    def _keyset(self, state: Position, following: Position, answer: Answer) -> Position | None:
        if not answer.count:
            return None
        field = self._paging.field
        at = looked_up(json.loads(answer.last), field)
        if at is None:
            raise self._failed(f"the last record has no {field!r} to go on after", "paging.field names the key")
        size = max(state.get("size", 0), answer.count)
        if (
            answer.count < state.get("size", 0)
            and self._paging.end != "empty"
            and not self._said(answer, self._paging.more)
        ):
            return None
        self._new(str(at), "keyset")
        return {**following, "at": at, "size": size}

    def _announced(self, number: int, state: Position, total: int | None, pages: int | None) -> bool:
        """Whether an answer without records says itself that there are some at this place (from 0)."""
        if state["as"] == "offset":
            return total is not None and number < total
        size = state.get("size", 0)
        if pages is None and total is not None:
            pages = -(-total // size) if size else min(total, 1)
        return pages is not None and number < pages

    def gap(self, state: Position, why: str) -> AnswerError:
        """The error for an empty page in the middle of a list, which must not be taken for its end."""
        named = "page" if state["as"] == "page" else "offset"
        return self._failed(
            f"{named} {state['at']} came empty, and {why}: {state['rows']} records came so far",
            "run again; if the API counts records that it does not show, leave paging.total and paging.pages out",
        )

    def _ended(self, state: Position, answer: Answer) -> None:
        """Raise AnswerError where an answer without a next page shows that there is one."""
        if self._said(answer, self._paging.more) is True:
            raise self._failed(
                f"the answer says that there are more records ({self._paging.more}), and not where",
                "check paging.next" if state["as"] != "link" else "the header Link has no rel=next",
            )
        where = state.get("next") or self._paging.next
        if state["at"] is not None or where.startswith("header:") or (where and not _absent(answer.envelope, where)):
            return
        found = guessed(answer.envelope, answer.count, answer.headers)
        if found.next:
            raise self._failed(
                f"the first answer has no {where or 'header Link'}, and a next page at {found.next}",
                f"paging: {{kind: {'next_url' if found.is_url else 'cursor'}, next: {found.next}}}",
            )

    def _token(self, state: Position, answer: Answer) -> Any:
        where = state.get("next") or self._paging.next
        if state["as"] == "link":
            return next_link(answer.headers.get("link", ""))
        if where.startswith("header:"):
            return answer.headers.get(where[7:].lower())
        return looked_up(answer.envelope, where)

    def _guess(self, state: Position, answer: Answer) -> Position | None:
        """The kind that the first answer shows; raises AnswerError where there is more and no way to it."""
        if next_link(answer.headers.get("link", "")):
            return self.after_first({**state, "as": "link"}, answer)
        found = guessed(answer.envelope, answer.count, answer.headers)
        if found.next and found.is_url:
            return self.after_first({**state, "as": "next_url", "next": found.next}, answer)
        if found.next:
            return self.after_first({**state, "as": "cursor", "next": found.next, "param": found.param}, answer)
        if found.more:
            raise self._failed(f"there may be more records ({found.more}) and nothing shows how to get them", _TELL)
        if answer.count and answer.count == self._paging.size:
            raise self._failed(f"a full page of {answer.count} came and nothing shows whether there are more", _TELL)
        return None

    def after_first(self, state: Position, answer: Answer) -> Position | None:
        """As `after`, for an answer that was looked at already."""
        self._before = b""
        return self.after(state, answer)

    # ---- circles

    def _guard(self, answer: Answer) -> None:
        self._empty = 0 if answer.count else self._empty + 1
        if self._empty > _EMPTY:
            raise self._failed(f"{_EMPTY} empty pages in a row", "the API never says that the list ends")
        same = bool(answer.count) and bool(answer.content) and answer.content == self._before
        self._before = answer.content
        if same and self._paging.same_page == "error":
            raise self._failed(
                "the same page came twice in a row: the API seems to ignore the parameter",
                f"check paging.param (now {self._paging.param or _PARAMS.get(self._paging.kind, '')!r}), or set "
                "paging.same_page to keep where equal records are normal",
            )

    def _new(self, at: str, kind: str) -> None:
        """Note where the next page is; raises AnswerError where that was asked for before."""
        if at in self._known:
            raise self._failed(f"the pages go round in circles: the {_CALLED[kind]} {_shown(at)!r} came before", _ROUND)
        if len(self._recent) == _RECENT:
            self._known.discard(self._recent[0])
        self._recent.append(at)
        self._known.add(at)

    # ---- what answers say

    def _said(self, answer: Answer, where: str) -> bool | None:
        found = self._value(answer, where)
        if found is None:
            return None
        return found if isinstance(found, bool) else str(found).lower() not in ("0", "false", "no", "n", "")

    def _number(self, answer: Answer, where: str) -> int | None:
        found = self._value(answer, where)
        try:
            return None if found is None else int(found)
        except (TypeError, ValueError):
            raise self._failed(f"{where} of the answer is {found!r}, which is no number", "") from None

    @staticmethod
    def _value(answer: Answer, where: str) -> Any:
        if not where:
            return None
        if where.startswith("header:"):
            return answer.headers.get(where[7:].lower())
        return looked_up(answer.envelope, where)

    def _failed(self, cause: str, hint: str) -> AnswerError:
        return AnswerError(f"{self._where}: {cause}", path=self._where, hint=hint)


def _absent(envelope: Any, where: str) -> bool:
    """Whether an answer lacks the last of these keys; one that is null is there."""
    above, _, last = where.rpartition(".")
    holder = looked_up(envelope, above) if above else envelope
    return not isinstance(holder, Mapping) or last not in holder


_PARAMS: dict[str, str] = {"page": "page", "offset": "offset", "cursor": "cursor", "keyset": "after"}
_CALLED = {"cursor": "cursor", "keyset": "key", "link": "link", "next_url": "URL"}
_ROUND = "this is a fault of the API; nothing of the open chunk was committed"
_TELL = (
    "say how the list is paged, datasets.NAME.paging: {kind: page, param: page, size_param: limit, size: 500} (in a "
    "URL #paging=page&paging.param=page), or that this is all of it: paging: none"
)


def next_link(header: str) -> str | None:
    """The target of `rel="next"` in a Link header (RFC 8288)."""
    for target, parameters in _LINK.findall(header):
        rel = _REL.search(parameters)
        if rel and "next" in rel[1].lower().split():
            return str(target)
    return None


def _absolute(base: str, reference: str, own: frozenset[str]) -> str:
    """The URL of a reference, without some parameters; of the same host never less than the scheme that was used."""
    url = urljoin(base, reference)
    path, mark, query = url.partition("?")
    kept = [one for one in query.split("&") if unquote_plus(one.partition("=")[0]) not in own]
    url = f"{path}{mark}{'&'.join(kept)}"
    ours, theirs = urlsplit(base), urlsplit(url)
    if ours.scheme == "https" and theirs.scheme == "http" and ours.hostname == theirs.hostname:
        return theirs._replace(scheme="https", netloc=ours.netloc).geturl()
    return url


def _shown(at: str) -> str:
    """A cursor or URL for an error: short, and no query."""
    return at.partition("?")[0][:60]
