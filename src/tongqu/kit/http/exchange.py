"""Makes one attempt of a call: sends it, follows redirects, and takes the answer in within its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tongqu.core.errors import AnswerError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.connection import Connection
from tongqu.kit.http.cookies import Jar
from tongqu.kit.http.inflate import inflated
from tongqu.kit.http.pool import Origin, Pool
from tongqu.kit.http.request import READING, Request, redirected
from tongqu.kit.http.watch import Watch

MAX_REDIRECTS = 3
_PIECE = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)

Sign = Callable[[Request], Request]


@dataclass
class Answer:
    """An answer whose head is here. Read its `chunks` or not, `close` it in any case."""

    status: int
    headers: Mapping[str, str]
    request: Request
    chunks: Iterator[bytes]
    close: Callable[[], None]

    def content(self, limit: int) -> bytes:
        """The whole answer; raises AnswerError if it is larger than `limit`. Closes it."""
        try:
            parts, size = [], 0
            for chunk in limited(self.chunks, limit, self.request.place):
                parts.append(chunk)
                size += len(chunk)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self.close()

    def beginning(self, limit: int) -> bytes:
        """The answer's first bytes at most, without an error for what follows. Closes it."""
        try:
            parts, size = [], 0
            for chunk in self.chunks:
                parts.append(chunk)
                size += len(chunk)
                if size >= limit:
                    break
            return b"".join(parts)[:limit]
        finally:
            self.close()


def limited(chunks: Iterator[bytes], limit: int, what: str) -> Iterator[bytes]:
    """The chunks; raises AnswerError as soon as they are more than `limit` bytes together."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise AnswerError(
                f"the answer of {what} is larger than {limit:,} bytes",
                hint="limits.answer_bytes and limits.stream_bytes are the limits",
            )
        yield chunk


class Exchange:
    """Sends requests over pooled connections; `sign` puts the connection's credentials into those that carry them."""

    def __init__(self, egress: Egress, pool: Pool, own: tuple[str, str, int], jar: Jar | None):
        self._egress = egress
        self._pool = pool
        self._own = own
        self._jar = jar
        self._checked: set[Origin] = set()

    def answer(self, request: Request, sign: Sign, watch: Watch, *, sure: bool) -> Answer:
        """The answer to a request, after at most three redirects of a reading one. Raises as `Connection`,
        EgressRefusedError for an address that may not be called, AnswerError for redirects without end."""
        for _ in range(MAX_REDIRECTS + 1):
            if request.origin not in self._checked:
                self._egress.check((request.origin.host, request.origin.port), request.origin.grant)
                self._checked.add(request.origin)
            answer = self._once(request, sign, watch, sure=sure)
            location = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or request.method not in READING or not location:
                return answer
            answer.close()
            request = redirected(request, location, self._own)
        raise AnswerError(f"{request.place} redirects more than {MAX_REDIRECTS} times")

    def _once(self, request: Request, sign: Sign, watch: Watch, *, sure: bool) -> Answer:
        signed = self._with_cookies(sign(request)) if request.signed else request
        origin = request.origin
        connection = self._pool.take(origin, watch, sure=sure)
        try:
            head = connection.exchange(signed.method, signed.target, _headers(signed), _parts(signed), watch)
            headers = _joined(head.headers)
            if self._jar and request.signed and "set-cookie" in headers:
                self._jar.learn([v.decode("utf-8", "replace") for k, v in head.headers if k == b"set-cookie"])
            chunks = inflated(connection.body(watch), headers.get("content-encoding", ""))
        except BaseException:
            connection.close()
            raise
        return Answer(head.status_code, headers, request, chunks, self._closer(origin, connection))

    def _with_cookies(self, request: Request) -> Request:
        kept = self._jar.header(request.path) if self._jar else ""
        return request.plus({"Cookie": "; ".join(filter(None, (request.header("Cookie"), kept)))}) if kept else request

    def _closer(self, origin: Origin, connection: Connection) -> Callable[[], None]:
        open_ = [connection]

        def close() -> None:
            if open_:
                self._pool.give(origin, open_.pop())

        return close


def _headers(request: Request) -> list[tuple[str, str]]:
    headers = [("Host", request.authority), *request.headers.items()]
    size = request.file.stat().st_size if request.file else len(request.body)
    if size or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(size)))
    return headers


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name in lower case; several of one name are one with commas (RFC 9110 §5.3)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("utf-8", "replace")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _parts(request: Request) -> Iterator[bytes]:
    if request.file is None:
        yield request.body
        return
    with request.file.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
