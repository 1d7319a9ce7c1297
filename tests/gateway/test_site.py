"""The stages of a request in their order, and what every answer has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tongqu.core.errors import BusyError, ConnectError, RefusedRowsError, TimedOutError
from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.manners import Cors
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.site import Route, Site, Stages
from tongqu.gateway.stages import Head, Ticket

PAGE = "https://portal.example"


@dataclass
class Told:
    """Everybody at once: says in `steps` when it was asked."""

    steps: list[str] = field(default_factory=list)
    actor_is: Actor = field(default_factory=Actor.nobody)
    refused: Reply | None = None
    failure: Exception | None = None
    headers: Headers = field(default_factory=lambda: [("ratelimit", '"default";r=1')])
    seen: list[tuple[str, int, str]] = field(default_factory=list)

    def refuse(self, head: Head) -> Reply | None:
        self.steps.append("gate")
        head.address = "10.1.2.3"
        return self.refused

    async def actor(self, request: Request) -> Actor:
        self.steps.append(f"identify {request.address}")
        return self.actor_is

    async def admit(self, request: Request, api: Api | None) -> Ticket:
        self.steps.append(f"admit {api.name if api else ''}")
        return self

    def close(self, *, measured: bool = True) -> None:
        self.steps.append(f"closed {measured}")

    async def handle(self, request: Request) -> Reply:
        self.steps.append(f"handle {request.actor.id}")
        if self.failure is not None:
            raise self.failure
        return Reply(200, [("content-type", "text/plain")], b"done")

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        self.steps.append("saw")
        self.seen.append((request.path, reply.status, request.notes.reason))


def site_of(told: Told, publication: Publication | None = None, cors: Cors | None = None) -> Site:
    stages = Stages(told, told, told, told, cors or Cors())
    routes = [Route("/open", told, "open"), Route("/known", told, "known"), Route("/api", told, "rules")]
    return Site(routes, publication or Publication("3.c0ffee"), stages)


def ask(site: Site, target: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Reply:
    head = Head(method, target, "", headers or {}, "192.0.2.1", "192.0.2.1", "http", "here")
    return site.refuse(head) or asyncio.run(site.answer(head, nothing))


async def nothing(limit: int) -> bytes:
    del limit
    return b""


def document(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    return json.loads(reply.body)


def test_the_stages_stand_in_their_order() -> None:
    told = Told()
    reply = ask(site_of(told), "/open/x")
    assert reply.status == 200
    assert told.steps == ["gate", "identify 10.1.2.3", "admit ", "handle anonymous", "closed True", "saw"]
    assert reply.header("ratelimit") == '"default";r=1'


def test_what_the_gate_refuses_costs_nobody_else_anything() -> None:
    told = Told(refused=Reply(429, [("retry-after", "1")], b'{"code":"limit.exceeded"}'))
    reply = ask(site_of(told), "/open")
    assert (reply.status, told.steps) == (429, ["gate", "saw"])
    assert told.seen == [("/open", 429, "limit.exceeded")]
    assert reply.header("tongqu-request-id")


def test_a_gate_that_fails_is_shut() -> None:
    class Failing(Told):
        def refuse(self, head: Head) -> Reply | None:
            raise RuntimeError

    assert ask(site_of(Failing()), "/open").status == 503


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Problem("field.unknown"), 422, "field.unknown"),
        (TimedOutError("SELECT secret"), 504, "source.slow"),
        (ConnectError("postgresql://user@host: password wrong"), 503, "source.unavailable"),
        (BusyError("pool"), 503, "overloaded"),
        (RefusedRowsError("constraint"), 409, "row.conflict"),
        (TimeoutError(), 504, "source.slow"),
        (KeyError("hunter2"), 500, "internal"),
    ],
)
def test_failures_are_told_by_kind_and_never_in_their_own_words(error: Exception, status: int, code: str) -> None:
    told = Told(failure=error)
    reply = ask(site_of(told), "/open")
    found = document(reply)
    assert (reply.status, found["code"], found["status"]) == (status, code, status)
    assert found["instance"] == reply.header("tongqu-request-id")
    assert "hunter2" not in str(found)
    assert "SELECT" not in str(found)
    assert "password" not in str(found)
    assert told.seen == [("/open", status, code)]
    assert told.steps[-2:] == ["closed True", "saw"]


def test_problems_speak_the_callers_language() -> None:
    english = ask(site_of(Told()), "/nothing", headers={"accept-language": "en;q=0.5, fr"})
    chinese = ask(site_of(Told()), "/nothing", headers={"accept-language": "fr, en;q=0.2, zh-CN;q=0.8"})
    assert document(english)["title"] == "there is nothing at this address"
    assert document(chinese)["title"] == "该地址不存在"


@pytest.mark.parametrize("route", site_of(Told()).routes, ids=lambda route: route.prefix)
def test_a_route_that_asks_for_a_known_caller_is_closed_to_others(route: Route) -> None:
    told = Told()
    reply = ask(site_of(told), route.prefix)
    assert (reply.status == 401) == (route.right in ("known", "admin"))
    if reply.status == 401:
        assert reply.header("www-authenticate").startswith("Bearer")
        assert "handle anonymous" not in told.steps
    assert ask(site_of(Told(actor_is=Actor("client:mes"))), route.prefix).status == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "FOO"])
def test_other_methods_are_refused(method: str) -> None:
    reply = ask(site_of(Told()), "/open", method)
    assert reply.status == 405
    assert "GET" in reply.header("allow")


@pytest.mark.parametrize("target", ["/open/../known", "/open//x", "/%2e%2e/known", "/open/%2fknown", "/open\\x"])
def test_a_path_that_can_be_read_in_two_ways_is_refused(target: str) -> None:
    assert ask(site_of(Told()), target).status == 400


def test_a_trace_goes_on_and_a_wrong_one_is_replaced() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    reply = ask(site_of(Told()), "/open", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert reply.header("traceparent").split("-")[1] == trace
    for wrong in ("nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01"):
        fresh = ask(site_of(Told()), "/open", headers={"traceparent": wrong}).header("traceparent")
        assert len(fresh.split("-")[1]) == 32
        assert fresh.split("-")[1] != "0" * 32


def test_pages_of_other_origins_may_not_call_unless_they_are_named() -> None:
    asking = {"origin": PAGE, "access-control-request-method": "GET"}
    assert ask(site_of(Told()), "/open", "OPTIONS", asking).status == 403
    assert ask(site_of(Told()), "/open", headers={"origin": PAGE}).header("access-control-allow-origin") == ""
    cors = Cors(frozenset([PAGE]))
    told = Told()
    preflight = ask(site_of(told, cors=cors), "/open", "OPTIONS", asking)
    assert (preflight.status, preflight.header("access-control-allow-origin")) == (204, PAGE)
    assert told.steps == ["gate", "saw"]
    assert ask(site_of(Told(), cors=cors), "/open", headers={"origin": PAGE}).header("vary") == "Origin"
    evil = ask(site_of(Told(), cors=cors), "/open", headers={"origin": "https://evil.example"})
    assert evil.header("access-control-allow-origin") == ""


def test_the_old_publication_is_idle_after_its_last_request() -> None:
    async def work() -> None:
        told = Told()
        site = site_of(told, Publication("1"))
        going = asyncio.Event()

        async def slow(request: Request) -> Reply:
            await going.wait()
            return Reply(200, body=request.publication.version.encode())

        told.handle = slow  # type: ignore[method-assign]  # this one waits
        head = Head("GET", "/open", "", {}, "192.0.2.1", "192.0.2.1")
        running = asyncio.create_task(site.answer(head, nothing))
        await asyncio.sleep(0)
        before = site.swap(Publication("2"))
        assert not before.idle.is_set()
        going.set()
        reply = await running
        assert (reply.body, reply.header("tongqu-config")) == (b"1", "1")
        assert before.idle.is_set()
        assert (await site.answer(head, nothing)).body == b"2"

    asyncio.run(work())


def test_a_caller_that_leaves_frees_its_place() -> None:
    async def work() -> None:
        told = Told()
        site = site_of(told)

        async def forever(request: Request) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError(request)

        told.handle = forever  # type: ignore[method-assign]  # this one never answers
        running = asyncio.create_task(site.answer(Head("GET", "/open", "", {}), nothing))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert told.steps[-2:] == ["closed True", "saw"]
        assert told.seen[-1] == ("/open", 499, "caller.left")

    asyncio.run(work())


def test_an_answer_in_pieces_keeps_its_place_until_its_end() -> None:
    async def work() -> None:
        told = Told()
        site = site_of(told)

        async def pieces() -> Any:
            yield b"one"
            yield b"two"

        async def handle(request: Request) -> Reply:
            return Reply(200, body=pieces())

        told.handle = handle  # type: ignore[method-assign]  # in pieces
        for read in (True, False):
            told.steps.clear()
            reply = await site.answer(Head("GET", "/open", "", {}), nothing)
            assert "closed False" not in told.steps
            assert not isinstance(reply.body, bytes)
            if read:
                assert [piece async for piece in reply.body] == [b"one", b"two"]
            await reply.body.aclose()  # type: ignore[attr-defined]  # as the transport does
            assert told.steps[-2:] == ["closed False", "saw"]

    asyncio.run(work())
