"""How an answer is written: HTTP/1.1 bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from email.utils import formatdate
from http import HTTPStatus

from tongqu.gateway.exchange import Reply

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
BODILESS = frozenset((204, 304))
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_OWN = frozenset(("connection", "transfer-encoding", "date", "keep-alive", "upgrade"))
"""Headers that belong to the connection and not to who answers."""
_USUAL = frozenset((
    "etag", "cache-control", "vary", "content-type", "content-range", "range-unit", "tongqu-next", "link", "ratelimit",
    "ratelimit-policy", "tongqu-request-id", "tongqu-config", "traceparent", "x-content-type-options",
    "x-frame-options", "referrer-policy", "cross-origin-resource-policy", "content-security-policy", "cache-status",
    "age", "strict-transport-security",
))  # fmt: skip
"""Headers of most answers, which are neither those nor tell a length."""


class Clock:
    """The `Date` header, made once a second."""

    def __init__(self) -> None:
        self.line = b""

    def tick(self, now: float) -> None:
        """It is `now`, seconds since 1970."""
        self.line = f"date: {formatdate(now, usegmt=True)}\r\n".encode()


def start(reply: Reply, date: bytes, *, close: bool, head: bool, old: bool) -> tuple[bytes, bool]:
    """Status line and headers with the body if it is bytes; and whether pieces follow as chunks.

    `head`: the request was HEAD and the body is left out, its length is told. `old`: the caller speaks HTTP/1.0, which
    has no chunks; the end of the connection ends the body then. Raises ValueError for a header that would break out.
    """
    headers, told = reply.headers, False
    if not _USUAL.issuperset([name for name, _ in headers]):
        headers = [pair for pair in headers if pair[0].lower() not in _OWN]
        told = any(len(name) == 14 and name.lower() == "content-length" for name, _ in headers)
    lines = [f"{name}: {value}" for name, value in headers]
    text = "\n".join(lines)
    if "\r" in text or "\0" in text or text.count("\n") != max(len(lines) - 1, 0):
        raise ValueError("a header holds a line break")
    body = reply.body
    if lines:
        text += "\n"
    if close:
        text += "connection: close\n"
    chunked = False
    if isinstance(body, bytes):
        if not told and reply.status not in BODILESS:
            text += f"content-length: {len(body)}\n"
        end = b"\r\n" if head or reply.status in BODILESS else b"\r\n" + body
    else:
        chunked = not told and not old and reply.status not in BODILESS
        if chunked:
            text += "transfer-encoding: chunked\n"
        end = b"\r\n"
    first = _LINES.get(reply.status) or f"HTTP/1.1 {reply.status} \r\n".encode()
    return b"".join((first, date, text.replace("\n", "\r\n").encode(), end)), chunked


def chunk(piece: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def bare(status: int, code: str, title: str) -> Reply:
    """A refusal of what is not even a request, as a problem document."""
    body = f'{{"type":"/docs/problems#{code}","title":"{title}","status":{status},"code":"{code}"}}'.encode()
    return Reply(status, [("content-type", "application/problem+json")], body)


async def close_body(body: bytes | AsyncIterator[bytes]) -> None:
    """End an iterator that nobody will read on."""
    closing = getattr(body, "aclose", None)
    if closing is not None:
        await closing()


def joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header lines as a mapping; the values of a name that came twice are joined."""
    headers: dict[str, str] = {}
    for name, value in lines:
        before = headers.get(name)
        headers[name] = value if before is None else f"{before}, {value}"
    return headers
