"""Judges whether the lines of a request's head can be read in one way only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tongqu.gateway.exchange import Reply
from tongqu.gateway.serving import wire
from tongqu.gateway.stages import Head

MALFORMED = wire.bare(400, "request.malformed", "this is not a request of HTTP/1.1")


class RefusedHeadError(Exception):
    """Raised inside the parser's callbacks to end a request whose head is refused."""

    def __init__(self, reply: Reply):
        super().__init__(reply.status)
        self.reply = reply


class RequestLine(NamedTuple):
    """The first line of a request."""

    method: str
    target: bytes
    version: str


def len_of(head: Head) -> int:
    """The length of the body as the head tells it, -1 where only its end tells it."""
    told = head.headers.get("content-length", "0")
    return int(told) if "transfer-encoding" not in head.headers and told.isdigit() else -1


def head_of(line: RequestLine, lines: Sequence[tuple[str, str]], peer: str, scheme: str) -> Head:
    """The head as the stages see it; raises RefusedHeadError for what two readers could read in two ways: no host or
    two, another host in the target, a body framed twice, an encoding beside `chunked`, bytes that are no ASCII."""
    headers = wire.joined(lines)
    version = line.version
    hosts = sum(1 for name, _ in lines if name == "host")
    if version not in ("1.0", "1.1") or hosts > 1 or (version == "1.1" and hosts != 1):
        raise RefusedHeadError(MALFORMED)
    encoding = headers.get("transfer-encoding")
    if encoding is not None and (version == "1.0" or "content-length" in headers or encoding.lower() != "chunked"):
        raise RefusedHeadError(MALFORMED)
    try:
        target, _, query = line.target.decode("ascii").partition("?")
    except UnicodeDecodeError:
        raise RefusedHeadError(MALFORMED) from None
    if target[:1] != "/" and not (target == "*" and line.method == "OPTIONS"):
        raise RefusedHeadError(MALFORMED)
    host = headers.get("host", "")
    return Head(line.method, target, query, headers, peer, peer, scheme, host, len(lines))
