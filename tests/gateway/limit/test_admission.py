"""Who is let in: addresses of client and API, rates, requests at a time; what is refused counts nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tongqu.core.policy import Actor
from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.exchange import Request
from tongqu.gateway.gate import AddressGate
from tongqu.gateway.limit.admission import Admitting, Ticket
from tongqu.gateway.limit.rates import SECOND
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.settings import GatewayEntry
from tongqu.gateway.shield.guard import Shield
from tongqu.gateway.stages import Head

MES = Actor("client:mes", roles=frozenset({"quality"}))


class Clock:
    at = 10**15

    def __call__(self) -> int:
        return self.at


def api(**entry: Any) -> Api:
    parsed = ApiEntry.parse({"source": {"connection": "lake", "dataset": "inspection"}, **entry})
    nothing: Any = None
    return Api("inspections", "v1", parsed, nothing, nothing, "lake", nothing)


def request(
    actor: Actor = MES,
    address: str = "10.0.0.1",
    query: str = "",
    body: Callable[[int], Awaitable[bytes]] | None = None,
    **headers: str,
) -> Request:
    async def nothing(limit: int) -> bytes:
        del limit
        return b""

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    made = Request(
        "POST" if body else "GET", "/api/v1/inspections", query, named, address, "r1", "0" * 32, 0.0, body or nothing,
        Publication("1"),
    )  # fmt: skip
    made.actor = actor
    return made


def admit(admitting: Admitting, asked: Request, to: Api | None) -> Ticket:
    return asyncio.run(admitting.admit(asked, to))


def code(admitting: Admitting, asked: Request, to: Api | None) -> str:
    try:
        admit(admitting, asked, to).close()
    except Problem as problem:
        return problem.code
    return ""


def admitting(clock: Clock | None = None, **section: Any) -> Admitting:
    return Admitting(GatewayEntry.parse(section), clock or Clock())


def test_a_client_has_its_own_limit_for_each_api() -> None:
    one, to = admitting(), api(limit={"requests": 2, "per": "minute"})
    assert [code(one, request(), to) for _ in range(3)] == ["", "", "limit.exceeded"]
    assert code(one, request(Actor("client:erp")), to) == ""
    ticket = admit(one, request(Actor("client:erp")), to)
    assert dict(ticket.headers) == {"ratelimit-policy": '"api";q=2;w=60', "ratelimit": '"api";r=0;t=60'}
    ticket.close()


def test_callers_without_credentials_are_counted_by_address() -> None:
    one, to = admitting(), api(limit={"requests": 1})
    told = [code(one, request(Actor.nobody(), address), to) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")]
    assert told == ["", "", "limit.exceeded"]


def test_a_changed_limit_holds_at_once() -> None:
    one = admitting()
    assert [code(one, request(), api(limit={"requests": 1})) for _ in range(2)] == ["", "limit.exceeded"]
    assert code(one, request(), api(limit={"requests": 5})) == ""


def test_users_are_counted_through_whatever_client() -> None:
    one = admitting(limits={"user": {"requests": 1}})
    told = [code(one, request(Actor(f"client:{name}", subject="user:zhang")), None) for name in ("a", "b")]
    assert told == ["", "limit.exceeded"]


def test_requests_at_the_same_time() -> None:
    one, to = admitting(), api(limit={"concurrent": 2})
    tickets = [admit(one, request(), to) for _ in range(2)]
    with pytest.raises(Problem) as refused:
        admit(one, request(), to)
    assert refused.value.more["violated-policies"] == ["concurrent"]
    tickets[0].close()
    tickets[0].close()
    assert code(one, request(), to) == ""
    assert code(one, request(), to) == ""
    tickets[1].close()
    assert one.numbers()["running"] == 0


def test_what_is_too_much_is_shed_and_says_so() -> None:
    one = admitting(limits={"concurrent": 1})
    ticket = admit(one, request(), None)
    with pytest.raises(Problem) as refused:
        admit(one, request(), None)
    assert (refused.value.kind.status, dict(refused.value.headers)["retry-after"]) == (503, "1")
    assert str(refused.value.more["type"]).endswith("#temporary-reduced-capacity")
    ticket.close()
    assert code(one, request(), None) == ""


def test_a_request_of_many_questions_counts_for_many() -> None:
    one = admitting(limits={"client": {"requests": 10, "per": "hour"}})
    to, asked = api(limit={"requests": 6, "per": "hour"}), request()

    async def share(cost: int, *, first: bool) -> str:
        try:
            (await one.share(asked, to, [], cost, first)).close()
        except Problem as problem:
            return problem.code
        return ""

    assert code(one, asked, None) == ""  # the request itself: 1 of 10 of the client
    assert asyncio.run(share(2, first=True)) == ""  # 2 of 10, and 2 of 6 of the API
    assert asyncio.run(share(5, first=False)) == "limit.exceeded"
    assert asyncio.run(share(4, first=False)) == ""  # 6 of 10, 6 of 6
    assert [code(one, asked, None) for _ in range(5)] == ["", "", "", "", "limit.exceeded"]


@pytest.mark.parametrize(
    "attributes",
    [{"client": "mes"}, {"act": ("client:mes",)}, {"client": "portal", "act": ("client:portal", "client:mes")}],
)
def test_a_persons_token_is_good_from_where_its_client_may_call(attributes: dict[str, Any]) -> None:
    one = admitting(clients={"mes": {"allow": "10.0.0.0/8"}})
    person = Actor("user:zhang", "user", attributes=attributes)
    assert code(one, request(person, "10.9.9.9"), api()) == ""
    assert code(one, request(person, "192.0.2.1"), api()) == "address.refused"


def test_from_where_a_client_and_an_api_may_be_called() -> None:
    one = admitting(clients={"mes": {"allow": "10.0.0.0/8"}})
    assert code(one, request(address="10.0.0.1"), None) == ""
    assert code(one, request(address="192.0.2.1"), None) == "address.refused"
    assert code(one, request(address="10.0.0.1"), api(addresses={"deny": ["10.0.0.1/32"]})) == "address.refused"


def test_what_is_refused_here_is_given_back_to_the_gate() -> None:
    clock, section = Clock(), GatewayEntry.parse({"limits": {"address": {"requests": 60, "burst": 5}}})
    gate = AddressGate(section, clock)
    one, to = Admitting(section, clock, gate=gate), api(limit={"requests": 1})
    for _ in range(20):
        assert gate.refuse(Head("GET", "/api/v1/inspections", "", {}, peer="10.0.0.1")) is None
        code(one, request(), to)
        clock.at += SECOND // 100


def test_the_shield_stands_before_query_and_body() -> None:
    async def hostile(limit: int) -> bytes:
        del limit
        return b'[{"lot": "x\' OR 1=1 --"}]'

    one = Admitting(GatewayEntry(), Clock(), shield=Shield())
    asked = request(query="lot=eq.x'%20UNION%20SELECT%201--")
    assert code(one, asked, api()) == "shield.refused"
    assert asked.notes.more["shield"] == {"rule": "union", "context": "'", "where": "lot"}
    assert code(one, request(query="lot=eq.O'Brien&order=lot.desc&or=(a.eq.1,b.gt.2)&select=a,b::text"), api()) == ""

    asked = request(body=hostile, content_type="application/json")
    admit(one, asked, api()).close()
    with pytest.raises(Problem, match=r"shield\.refused"):
        asyncio.run(read(asked))
    watched = request(body=hostile, content_type="application/json")
    admit(one, watched, api(shield="observe")).close()
    assert asyncio.run(read(watched)) == asyncio.run(hostile(1))
    assert watched.notes.more["shield"]["rule"] == "condition"


async def read(asked: Request) -> bytes:
    return await asked.body(1 << 20)
