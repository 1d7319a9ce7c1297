"""The headers of every answer, and what pages of other origins may do."""

from __future__ import annotations

from dataclasses import dataclass

from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.tracing import answered

declare({"origin.refused": Kind(403, "pages of this origin may not call", "不允许该来源的网页调用")})
SECURE: Headers = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
]
_STRICT_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
_HSTS = ("strict-transport-security", "max-age=31536000")


@dataclass(frozen=True)
class Cors:
    """Which web pages may call. Without an origin none may."""

    origins: frozenset[str] = frozenset()
    methods: str = "GET, HEAD, POST"
    headers: str = "authorization, content-type, prefer, range"
    exposed: str = (
        "content-range, etag, link, location, preference-applied, ratelimit, ratelimit-policy, retry-after, "
        "tongqu-config, tongqu-next, tongqu-request-id, traceparent"
    )
    credentials: bool = False
    seconds: int = 600

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        return origin in self.origins or "*" in self.origins

    def told(self, origin: str) -> Headers:
        """The headers of an answer to such a page."""
        given = "*" if "*" in self.origins else origin
        found: Headers = [("access-control-allow-origin", given), ("access-control-expose-headers", self.exposed)]
        if given != "*":
            found.append(("vary", "Origin"))
        return [*found, ("access-control-allow-credentials", "true")] if self.credentials else found


def dress(request: Request, reply: Reply, cors: Cors) -> None:
    """Put on the headers of every answer; what the handler set stays."""
    headers = reply.headers
    given = {name.lower() for name, _ in headers}
    headers += [
        ("tongqu-request-id", request.id),
        ("tongqu-config", request.publication.version),
        ("traceparent", answered(request)),
    ]
    headers += [pair for pair in SECURE if pair[0] not in given]
    if "cache-control" not in given:
        headers.append(("cache-control", "no-store"))
    if "content-security-policy" not in given:
        headers.append(("content-security-policy", _STRICT_CSP))
    if request.scheme == "https":
        headers.append(_HSTS)
    origin = request.headers.get("origin")
    if origin and cors.allows(origin):
        headers[:] = [pair for pair in headers if pair[0] != "cross-origin-resource-policy"]
        headers += [("cross-origin-resource-policy", "cross-origin"), *cors.told(origin)]


def answer_preflight(request: Request, cors: Cors) -> Reply | None:
    """The answer to a browser that asks whether a page may call; None if it is no such question."""
    origin = request.headers.get("origin")
    if request.method != "OPTIONS" or not origin or "access-control-request-method" not in request.headers:
        return None
    if not cors.allows(origin):
        raise Problem("origin.refused")
    told: Headers = [
        ("access-control-allow-methods", cors.methods),
        ("access-control-allow-headers", cors.headers),
        ("access-control-max-age", str(cors.seconds)),
    ]
    return Reply(204, told)


def check_origin(request: Request, cors: Cors) -> None:
    """A page of another origin may open a WebSocket only if it may call at all; raises Problem."""
    origin = request.headers.get("origin")
    if origin and origin != f"{request.scheme}://{request.host}" and not cors.allows(origin):
        raise Problem("origin.refused")
