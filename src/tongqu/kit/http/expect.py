"""Checks that an answer is what was asked for before anybody reads rows out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Literal

from tongqu.core.errors import AnswerError
from tongqu.kit.http.call import Reply, Stream

Kind = Literal["json", "ndjson", "xml", "csv"]

_LOOK = 4096
_BEGINS = {
    "json": re.compile(rb"[\[{\"\-0-9]|true\b|false\b|null\b"),
    "ndjson": re.compile(rb"[\[{]"),
    "xml": re.compile(rb"<[?!A-Za-z_]"),
    "csv": re.compile(rb""),
}
_HTML = re.compile(rb"(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,200})", re.IGNORECASE)
_BINARY = re.compile(r"(image|audio|video|font)/|application/(pdf|zip|gzip|octet-stream|vnd\.openxml)")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def for_people(reply: Reply) -> bool:
    """Whether an answer is a page for people: of a proxy or a login, not of the system that was called."""
    text = reply.content[:_LOOK].removeprefix(b"\xef\xbb\xbf").lstrip()
    return bool(_HTML.match(text)) or "html" in reply.headers.get("content-type", "").lower()


def expect(reply: Reply, kind: Kind) -> bytes:
    """The content of an answer if it can be of this kind; raises AnswerError for an HTML page (a login or error page
    with status 200), another content, or nothing at all. What a system calls it matters less than what it is: JSON
    sent as text/plain is JSON."""
    _looked_at(reply.content[:_LOOK], reply.headers.get("content-type", ""), kind, reply.url)
    return reply.content


def expect_stream(stream: Stream, kind: Kind) -> Iterator[bytes]:
    """The chunks of a streamed answer, judged as `expect` does by the first of them."""
    head = b""
    for chunk in stream.chunks:
        head += chunk
        if len(head) >= _LOOK or len(head.strip()) > 64:
            break
    _looked_at(head[:_LOOK], stream.headers.get("content-type", ""), kind, stream.url)
    return chain([head], stream.chunks)


def _looked_at(head: bytes, content_type: str, kind: Kind, url: str) -> None:
    place = url.partition("?")[0]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named = content_type.partition(";")[0].strip().lower()
    if _HTML.match(text) or (named in ("text/html", "application/xhtml+xml") and not _BEGINS[kind].match(text)):
        title = _TITLE.search(head)
        shown = title[1].decode("utf-8", "replace").strip() if title else ""
        raise AnswerError(
            f"{place} answered with an HTML page{f' ({shown})' if shown else ''} where {kind} was expected",
            hint="often a login or error page; check the address and the credentials",
        )
    if not text and kind != "csv":
        raise AnswerError(f"{place} answered with nothing where {kind} was expected")
    if text[:2] in _UTF16:
        return
    if not _BEGINS[kind].match(text) or (kind == "csv" and (_BINARY.match(named) or b"\x00" in text)):
        raise AnswerError(f"{place} answered with {named or 'something'} where {kind} was expected")
