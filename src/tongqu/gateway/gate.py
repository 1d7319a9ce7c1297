"""The first look at a request: real address, allow and deny lists, floods, method, sizes; nothing is parsed."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import ceil
from urllib.parse import unquote

import orjson

from tongqu.gateway.addresses import AddressList, Networks, block, canonical
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.limit.admission import rate
from tongqu.gateway.limit.headers import QUOTA
from tongqu.gateway.limit.rates import SECOND, Meter
from tongqu.gateway.problems import KINDS
from tongqu.gateway.settings import GatewayEntry
from tongqu.gateway.stages import Head, Told

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ADMIN = ("/manage", "/console", "/metrics")
"""Prefixes that only the addresses of `admin` may call."""
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url")
"""Headers by which another method or path could be slipped past the rules of a proxy."""
RESERVE = 5
"""One in so many requests of the total is kept for addresses from where a known client called lately."""
_BLAMED = frozenset({"auth.invalid", "auth.expired", "oauth.invalid_client", "oauth.invalid_grant", "shield.refused"})
VOUCHED = 20_000
VOUCHED_SECONDS = 600
_WRONG_TARGET = re.compile(r"[\x00-\x20\x7f\\]|%00|%0[ad]|%(?![0-9a-f]{2})|[^\x00-\x7f]|%2f|%5c", re.IGNORECASE)
_WRONG_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NUMBER = re.compile(r"[0-9]{1,15}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class AddressGate:
    """The `Gate` of the gateway. `now` is monotonic, in nanoseconds. For one event loop.

    Total and address rates are counted here, before anything costs more; `Admitting` gives back what it refuses. From
    the last fifth of the total only addresses are served from where a known client called in the last ten minutes, so
    that a flood from elsewhere does not shut them out.
    """

    def __init__(self, entry: GatewayEntry, now: Callable[[], int], meter: Meter | None = None):
        limits = entry.limits
        self._now = now
        self._sizes = entry.sizes
        self._lists = AddressList(entry.addresses)
        self._admin = AddressList(entry.admin)
        self._proxies = Networks(entry.trusted_proxies)
        self._total = rate("total", limits.total)
        self._address = rate("address", limits.address)
        self._failures = rate("failures", limits.failures)
        self._meter = Meter(limits.keys) if meter is None else meter
        self._vouched: dict[str, int] = {}
        self._replies: dict[tuple[str, bool, str, int], Reply] = {}

    def refuse(self, head: Head) -> Reply | None:
        """A refusal, or None; sets `head.address`, `head.scheme` and `head.host` by the rules for trusted proxies."""
        head.address = head.peer
        wrong = self._behind_proxies(head) if self._proxies else ""
        if wrong:
            return self._reply(head, wrong)
        if not self._lists.empty and not self._lists.allows(head.address):
            return self._reply(head, "address.refused")
        wait = self.flood(block(head.address))
        if wait:
            return self._reply(head, "limit.exceeded", ceil(wait / SECOND))
        wrong = self._wrong(head)
        if wrong:
            self.give_back(head.address)
            return self._reply(head, wrong)
        return None

    def give_back(self, address: str) -> None:
        """A request from there that was let through here was refused later: it does not count."""
        key = block(address)
        if self._address is not None:
            self._meter.give_back(self._address, key)
        if self._total is not None:
            self._meter.give_back(self._total, "")

    def vouch(self, address: str) -> None:
        """A known client called from there."""
        key = block(address)
        self._vouched.pop(key, None)
        self._vouched[key] = self._now()
        if len(self._vouched) > VOUCHED:
            del self._vouched[next(iter(self._vouched))]

    def blame(self, address: str) -> None:
        """Bad credentials came from there. Beyond the rate of `failures` all calls from there are refused for a while,
        unless a known client calls from there too."""
        if self._failures is not None:
            self._meter.hit(self._failures, block(address), self._now())

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """As a `Watch`: bad credentials and injections are held against the address that they came from."""
        del reply, seconds
        if request.notes.reason in _BLAMED:
            self.blame(request.address)

    def repeated(self, request: Request, reply: Reply) -> Told:
        """See stages.Repeating: calls that were answered are held against nobody."""
        del request, reply
        return lambda calls: None

    def flood(self, key: str) -> int:
        """Count a request of that block of addresses; 0, or the nanoseconds it must wait: then it was not counted."""
        now = self._now()
        vouched = now - self._vouched.get(key, -VOUCHED_SECONDS * SECOND) < VOUCHED_SECONDS * SECOND
        if self._failures is not None and not vouched:
            wait = self._meter.waits(self._failures, key, now)
            if wait:
                return wait
        if self._address is not None:
            wait = self._meter.hit(self._address, key, now)
            if wait:
                return wait
        if self._total is None:
            return 0
        wait = self._meter.hit(self._total, "", now, 0 if vouched else self._total.burst // RESERVE)
        if wait and self._address is not None:
            self._meter.give_back(self._address, key)
        return wait

    def _behind_proxies(self, head: Head) -> str:
        """Take address, scheme and host from a trusted proxy's headers; the code of a refusal if they are no good."""
        if not self._proxies.holds(head.peer):
            return ""
        chain = head.headers.get("x-forwarded-for", "")
        for text in reversed(chain.split(",")) if chain else ():
            parsed = canonical(text)
            if parsed is None:
                return "request.malformed"
            head.address = str(parsed)
            if not self._proxies.holds(head.address):
                break
        scheme = head.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            head.scheme = scheme
        host = head.headers.get("x-forwarded-host", "").rpartition(",")[2].strip()
        if host:
            head.host = host
        return ""

    def _wrong(self, head: Head) -> str:
        """The code of what is wrong with method, target or headers."""
        sizes = self._sizes
        if head.method not in METHODS:
            return "method.refused"
        if len(head.target) + len(head.query) > sizes.target_bytes:
            return "uri.too_long"
        if head.pairs > sizes.headers or head.size > sizes.header_bytes:
            return "headers.too_large"
        if head.query and head.query.count("&") >= sizes.parameters:
            return "uri.too_long"
        if head.target[:1] != "/" or _WRONG_TARGET.search(head.target):
            return "request.malformed"
        if is_admin(head.target) and not self._admin.allows(head.address):
            return "api.unknown"
        return self._wrong_headers(head)

    def _wrong_headers(self, head: Head) -> str:
        headers = head.headers
        length = headers.get("content-length")
        if length is not None:
            if "transfer-encoding" in headers or not _NUMBER.fullmatch(length):
                return "request.malformed"
            if int(length) > self._sizes.body_bytes:
                return "body.too_large"
        encoding = headers.get("transfer-encoding")
        if encoding is not None and encoding.strip().lower() != "chunked":
            return "request.malformed"
        if head.host and not _HOST.fullmatch(head.host):
            return "request.malformed"
        for name in OVERRIDES:
            if name in headers:
                return "request.malformed"
        return "request.malformed" if _WRONG_VALUE.search("\t".join(headers.values())) else ""

    def _reply(self, head: Head, code: str, wait: int = 0) -> Reply:
        """The refusal, made once for each kind; who gets it must not change it."""
        chinese = head.headers.get("accept-language", "")[:2] == "zh"
        key = (code, chinese, "HEAD" if head.method == "HEAD" else "", wait)
        found = self._replies.get(key)
        if found is None:
            if len(self._replies) > 1000:
                self._replies.clear()
            found = self._replies[key] = _made(code, chinese, head.method, wait)
        return Reply(found.status, list(found.headers), found.body)


def is_admin(target: str) -> bool:
    """Whether the path, however it is spelled, leads to where only administrators may be."""
    path = target.lower()
    if "%" in path or "//" in path or "/." in path:
        kept: list[str] = []
        for segment in unquote(path).split("/"):
            if segment == "..":
                del kept[-1:]
            elif segment not in ("", "."):
                kept.append(segment)
        path = "/" + "/".join(kept)
    return path.startswith(ADMIN)


def _made(code: str, chinese: bool, method: str, wait: int) -> Reply:
    kind = KINDS[code]
    title = kind.zh if chinese else kind.en
    document = {
        "type": QUOTA if wait else f"/docs/problems#{code}",
        "title": title,
        "status": kind.status,
        "code": code,
        "retryable": kind.retryable,
        "message": title,
        "details": None,
        "hint": None,
    }
    headers = [("content-type", "application/problem+json")]
    if wait:
        headers.append(("retry-after", str(max(1, wait))))
    if code == "method.refused":
        headers.append(("allow", ", ".join(sorted(METHODS))))
    return Reply(kind.status, headers, b"" if method == "HEAD" else orjson.dumps(document))
