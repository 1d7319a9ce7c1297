"""One request from head to answer: the order of the stages, the routes, and the publication that is swapped whole."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tongqu.gateway.contract import lifecycle
from tongqu.gateway.editions import Edition
from tongqu.gateway.exchange import Handler, Reply, Request, Socket
from tongqu.gateway.faults import expected, told
from tongqu.gateway.ids import Ids
from tongqu.gateway.intake.addressing import ingested
from tongqu.gateway.manners import SECURE, Cors, answer_preflight, check_origin, dress
from tongqu.gateway.pieces import Pieces
from tongqu.gateway.policy.settings import Access
from tongqu.gateway.problems import Kind, Problem, declare, refusal
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.serving.paths import normal
from tongqu.gateway.stages import (
    Admission,
    Gate,
    Head,
    Identify,
    Nobody,
    NoLimits,
    OpenGate,
    Pretending,
    Ticket,
    Watch,
    Watches,
)
from tongqu.gateway.tracing import Trace, Tracing, enter

if TYPE_CHECKING:
    from tongqu.gateway.ready.answers import Ready

Right = Literal["open", "rules", "known", "admin"]
"""What a route asks of its caller: nothing; what the access rules of the API say; to be known; to be an administrator
(the handler looks at the duty)."""
Body = Callable[[int], Awaitable[bytes]]

logger = logging.getLogger("tongqu.gateway")
declare({"path.unknown": Kind(404, "there is nothing at this address", "该地址不存在")})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_OF_APIS = frozenset(("api", "soap", "live"))
_PARTS = 4
"""`/api/v1/name` has so many parts between slashes."""


@dataclass(frozen=True)
class Route:
    """Requests whose path begins with `prefix` (whole segments) go to `handler`; `right` is asked of the caller first.
    A handler that has `talk` takes WebSockets too; what a `lasting` one answers is no running request once it began;
    one with `refusal(problem, request)` says refusals under its prefix in its protocol's own words."""

    prefix: str
    handler: Handler
    right: Right


@dataclass(slots=True)
class Passage:
    """A request on its way, with what must be given back when it is over."""

    request: Request
    edition: Edition
    ticket: Ticket | None = None


@dataclass
class Stages:
    """Who stands at each stage; each is open unless somebody is put there."""

    gate: Gate = field(default_factory=OpenGate)
    identify: Identify = field(default_factory=Nobody)
    admission: Admission = field(default_factory=NoLimits)
    watch: Watch = field(default_factory=Watches)
    cors: Cors = field(default_factory=Cors)
    tracing: Tracing | None = None


class Site:
    """Answers requests. `stages` may be replaced while it runs; a request sees one publication from its begin to its
    end. `clock` is monotonic seconds, `new_id` gives ids of requests."""

    def __init__(
        self,
        routes: Sequence[Route],
        publication: Publication,
        stages: Stages | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], str] | None = None,
    ):
        self.stages = stages or Stages()
        self.routes = tuple(routes)
        self._table: Mapping[str, Route] = {route.prefix.strip("/"): route for route in routes}
        self.pretending: Pretending | None = None
        """Who gives some callers made-up rows."""
        self.ready: Ready | None = None
        """Answers that need no detour; doors that show other answers than the site's do not use them."""
        self._edition = Edition(publication)
        self._clock = clock
        self._ids = Ids()
        self._new_id = new_id or self._ids

    def add(self, route: Route) -> None:
        """One more route, for a handler that needs the site itself."""
        self.routes = (*self.routes, route)
        self._table = {**self._table, route.prefix.strip("/"): route}

    @property
    def publication(self) -> Publication:
        """What is published now."""
        return self._edition.publication

    def swap(self, publication: Publication) -> Edition:
        """Publish something else from the next request on; the edition given back is idle after its last request."""
        before, self._edition = self._edition, Edition(publication)
        before.retire()
        return before

    # before there is a request

    def refuse(self, head: Head) -> Reply | None:
        """The gate's refusal with the headers of every answer, told to the watch; None lets the request in."""
        try:
            reply = self.stages.gate.refuse(head)
        except Exception:
            logger.exception("the gate failed")
            reply = Reply(503, [("content-type", "application/problem+json")], b'{"status":503,"code":"overloaded"}')
        if reply is None:
            return None
        request = self._request(head, normal(head.target) or "", _no_body)
        request.notes.reason = _code_of(reply)
        dress(request, reply, self.stages.cors)
        self.stages.watch.saw(request, reply, self._clock() - request.began)
        return reply

    def away(self, head: Head) -> Reply:
        """What the gate let in leads nowhere at this door; told to the watch."""
        request = self._request(head, normal(head.target) or "", _no_body)
        reply = refusal(Problem("path.unknown"), request)
        dress(request, reply, self.stages.cors)
        self.stages.watch.saw(request, reply, self._clock() - request.began)
        return reply

    def malformed(self, peer: str, reply: Reply) -> None:
        """Bytes from there were no request and got this reply; told to the watch."""
        request = self._request(Head("", "", "", peer=peer, address=peer), "", _no_body)
        request.notes.reason = _code_of(reply)
        reply.headers += [("tongqu-request-id", request.id), ("cache-control", "no-store"), *SECURE]
        self.stages.watch.saw(request, reply, 0.0)

    def broke(self, head: Head) -> None:
        """An answer could not be written to its end."""
        logger.error("the answer to %s %s broke off", head.method, head.target.partition("?")[0], exc_info=True)

    # a request

    async def answer(self, head: Head, body: Body) -> Reply:
        """The whole of it; never raises, except when it is cancelled. Told to the watch; an answer in pieces only with
        its last piece, and until then it keeps its place in the limits."""
        passage = self._enter(head, body)
        request = passage.request
        try:
            reply = await self._answer(passage)
        except asyncio.CancelledError:
            request.notes.reason = request.notes.reason or "caller.left"
            self._over(passage, Reply(499))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller hears its kind and the log the rest
            reply = self._failed(passage, error)
        dress(request, reply, self.stages.cors)
        if isinstance(reply.body, bytes):
            request.notes.bytes = request.notes.bytes or len(reply.body)
            self._over(passage, reply)
            if head.raw and self.ready is not None and request.notes.held is not None:
                self.ready.keep(head, request, reply, self.api_of(request))
        else:
            whole = reply

            def over(given: int) -> None:
                request.notes.bytes = given
                self._over(passage, whole, measured=False)

            reply.body = Pieces(reply.body, over)
        return reply

    async def converse(self, head: Head, body: Body, socket: Socket) -> Reply | None:
        """Hold a WebSocket's conversation; a reply refuses it before the handshake, None: it took place."""
        passage = self._enter(head, body)
        request = passage.request
        request.notes.action = "socket"
        reply: Reply | None = None
        try:
            check_origin(request, self.stages.cors)
            route = await self._admitted(passage)
            talk = getattr(route.handler, "talk", None)
            if talk is None:
                raise Problem("path.unknown")
            await talk(request, socket)
        except ConnectionError:
            request.notes.reason = request.notes.reason or "caller.left"
        except Exception as error:  # noqa: BLE001  # as above
            reply = self._failed(passage, error)
            dress(request, reply, self.stages.cors)
            if getattr(socket, "accepted", False):
                await socket.close(1011, request.notes.reason)
                reply = None
        finally:
            self._over(passage, reply or Reply(101), measured=False)
        return reply

    async def _answer(self, passage: Passage) -> Reply:
        request = passage.request
        preflight = answer_preflight(request, self.stages.cors)
        if preflight is not None:
            return preflight
        route = await self._admitted(passage)
        reply = await route.handler.handle(request)
        if "mock" in request.notes.more:
            reply.headers.append(("tongqu-mock", "true"))
        if passage.ticket is not None:
            reply.headers += passage.ticket.headers
        if (api := self.api_of(request)) is not None:
            reply.headers += lifecycle.headers(api)
        return reply

    async def _admitted(self, passage: Passage) -> Route:
        """The route of a request whose caller is known and within limits; raises Problem."""
        request = passage.request
        if not request.path:
            raise Problem("request.malformed", "the path can be read in more than one way")
        if request.method not in METHODS:
            raise Problem("method.refused", headers=[("allow", ", ".join(METHODS))])
        route = self.route(request.path)
        request.actor = await self.stages.identify.actor(request)
        if route is None:
            raise Problem("path.unknown")
        if route.right in ("known", "admin") and not request.actor.known:
            raise Problem("auth.missing")
        if self.pretending is not None:
            self.pretending.instead(request)
        api = self.api_of(request)
        if api is not None:
            request.notes.api, request.notes.version = api.name, api.version
        else:
            self._not_now(request)
        passage.ticket = await self.stages.admission.admit(request, api)
        if getattr(route.handler, "lasting", False):
            passage.ticket.close(measured=False)
        return route

    def _enter(self, head: Head, body: Body) -> Passage:
        edition = self._edition.enter()
        request = self._request(head, normal(head.target) or "", body)
        enter(request, self.stages.tracing)
        return Passage(request, edition)

    def _over(self, passage: Passage, reply: Reply, *, measured: bool = True) -> None:
        """The request is over: its place in the limits is free, and the watch is told."""
        if passage.ticket is not None:
            passage.ticket.close(measured=measured)
        passage.edition.leave()
        request, seconds = passage.request, self._clock() - passage.request.began
        if measured and self.pretending is not None:
            self.pretending.saw(request, reply, seconds)
        self.stages.watch.saw(request, reply, seconds)

    def route(self, path: str) -> Route | None:
        """Where a normalised path leads."""
        first, _, rest = path[1:].partition("/")
        found = self._table.get(first)
        if found is None and rest:
            found = self._table.get(f"{first}/{rest.partition('/')[0]}")
        return found

    def api_of(self, request: Request) -> Api | None:
        """The API that a path names, if it names one."""
        parts = request.path.split("/", _PARTS)
        if len(parts) >= _PARTS and parts[1] in _OF_APIS:
            return request.publication.api(parts[2], parts[3])
        return ingested(request.publication, request.path) if parts[1] == "ingest" else None

    def _not_now(self, request: Request) -> None:
        """An API whose source is away is told as such to those who may call it; to others it is not there."""
        parts = request.path.split("/", _PARTS)
        if len(parts) < _PARTS or parts[1] not in _OF_APIS:
            return
        if sunset := request.publication.gone.get((parts[2], parts[3])):
            raise Problem("version.gone", headers=[("sunset", sunset)])
        entry = request.publication.degraded.get((parts[2], parts[3]))
        if entry is not None and (entry.access.public or request.actor.roles.intersection(_roles(entry.access))):
            request.notes.api, request.notes.version = parts[3], parts[2]
            raise Problem("source.unavailable", headers=[("retry-after", "5")])

    def _request(self, head: Head, path: str, body: Body) -> Request:
        return Request(
            method=head.method,
            path=path,
            query=head.query,
            headers=head.headers,
            address=head.address,
            id=self._new_id(),
            trace=Trace.of(parent).id if (parent := head.headers.get("traceparent", "")) else self._ids(16),
            began=self._clock(),
            body=body,
            publication=self._edition.publication,
            scheme=head.scheme,
            host=head.host,
            certificate=head.certificate,
            language=_language(head.headers.get("accept-language", "")),
            target=head.target,
        )

    def _failed(self, passage: Passage, error: Exception) -> Reply:
        request = passage.request
        problem = told(error)
        if not isinstance(error, Problem):
            level = logging.WARNING if expected(problem) else logging.ERROR
            told_as = {"request": request.id, "trace": request.trace}
            logger.log(level, "%s %s failed (%s)", request.method, request.path, request.id, exc_info=error,
                       extra=told_as)  # fmt: skip
        route = self.route(request.path)
        tell = getattr(route.handler, "refusal", refusal) if route is not None else refusal
        reply: Reply = tell(problem, request)
        if passage.ticket is not None:
            reply.headers += passage.ticket.headers
        if reply.status == 401 and not reply.header("www-authenticate"):  # unauthorised
            reply.headers.append(("www-authenticate", 'Bearer realm="tongqu"'))
        return reply


def _roles(access: Access) -> set[str]:
    """Every role that the rules name as allowed."""
    found = {*access.roles, *access.write_roles}
    return found.union(*(rule.roles for rule in access.rules if rule.effect == "allow"))


async def _no_body(limit: int) -> bytes:
    del limit
    return b""


def _code_of(reply: Reply) -> str:
    """The code that stands in a problem document."""
    body = reply.body if isinstance(reply.body, bytes) else b""
    found = re.search(rb'"code":\s*"([a-z._]+)"', body)
    return found[1].decode() if found else str(reply.status)


def _language(accepted: str) -> str:
    """`zh` where it is wanted more than `en`."""
    if not accepted:
        return "en"
    best, weight = "en", 0.0
    for part in accepted.lower().split(",")[:10]:
        tag, _, quality = part.strip().partition(";q=")
        try:
            told_weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        if tag[:2] in ("zh", "en") and told_weight > weight:
            best, weight = tag[:2], told_weight
    return best
