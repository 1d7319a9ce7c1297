"""The first look at a request: whose address it is, whether it may call, and what is wrong with its head."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from tongqu.gateway.addresses import AddressEntry, AddressList, block
from tongqu.gateway.gate import AddressGate
from tongqu.gateway.limit.rates import SECOND
from tongqu.gateway.settings import CorsEntry, GatewayEntry
from tongqu.gateway.stages import Head


class Clock:
    def __init__(self) -> None:
        self.at = 10**15

    def __call__(self) -> int:
        return self.at


def gate(clock: Clock | None = None, **section: Any) -> AddressGate:
    return AddressGate(GatewayEntry.parse(section), clock or Clock())


def head(target: str = "/api/v1/inspections", query: str = "", peer: str = "203.0.113.9", **headers: str) -> Head:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("GET", target, query, named, peer, peer, "http", "api.example", len(named), 100)


def code(gate: AddressGate, head: Head) -> str:
    reply = gate.refuse(head)
    return "" if reply is None else str(orjson.loads(bytes(reply.body))["code"])  # type: ignore[arg-type]  # always bytes


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
    ],
)
def test_the_right_most_address_that_is_no_trusted_proxy_calls(forwarded: str, address: str) -> None:
    asked = head(peer="10.0.0.1", x_forwarded_for=forwarded, x_forwarded_proto="https", x_forwarded_host="a.example")
    assert code(gate(trusted_proxies="10.0.0.0/8"), asked) == ""
    assert (asked.address, asked.scheme, asked.host) == (address, "https", "a.example")


def test_nobody_else_can_say_where_he_calls_from() -> None:
    asked = head(peer="203.0.113.9", x_forwarded_for="127.0.0.1", x_forwarded_proto="https", x_forwarded_host="evil")
    assert code(gate(trusted_proxies="10.0.0.0/8"), asked) == ""
    assert (asked.address, asked.scheme, asked.host) == ("203.0.113.9", "http", "api.example")


def test_a_proxy_that_forwards_nonsense_is_refused() -> None:
    assert (
        code(gate(trusted_proxies="10.0.0.1"), head(peer="10.0.0.1", x_forwarded_for="unknown")) == "request.malformed"
    )


def test_deny_beats_allow_and_disguised_addresses_are_seen() -> None:
    lists = AddressList(AddressEntry(allow=("10.0.0.0/8",), deny=("10.1.0.0/16",)))
    told = [
        lists.allows(one) for one in ("10.0.0.1", "10.1.0.1", "::ffff:10.1.0.1", "::ffff:10.0.0.1", "11.0.0.1", "x")
    ]
    assert told == [True, False, False, True, False, False]
    assert code(gate(addresses={"deny": "203.0.113.0/24"}), head()) == "address.refused"


@pytest.mark.parametrize(
    "target", ["/manage/apis", "/%6danage", "//manage", "/./manage", "/x/../manage", "/MANAGE", "/metrics"]
)
def test_administration_is_not_there_for_others(target: str) -> None:
    assert code(gate(), head(target)) == "api.unknown"
    assert code(gate(), head(target, peer="127.0.0.1")) == ""


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (head("/api/" + "a" * 9000), "uri.too_long"),
        (head(query="&".join(["a=1"] * 201)), "uri.too_long"),
        (Head("GET", "/", "", {}, pairs=65), "headers.too_large"),
        (Head("GET", "/", "", {}, size=20_000), "headers.too_large"),
        (Head("TRACE", "/", "", {}), "method.refused"),
        (head("http://evil/"), "request.malformed"),
        (head("/a%00b"), "request.malformed"),
        (head("/a%0d%0aSet-Cookie:x"), "request.malformed"),
        (head("/a%2f..%2fb"), "request.malformed"),
        (head("/a\\b"), "request.malformed"),
        (head("/a%zz"), "request.malformed"),
        (head(content_length="5, 6"), "request.malformed"),
        (head(content_length="+5"), "request.malformed"),
        (head(content_length="5", transfer_encoding="chunked"), "request.malformed"),
        (head(transfer_encoding="chunked, chunked"), "request.malformed"),
        (head(content_length=str(17 << 20)), "body.too_large"),
        (head(x_http_method_override="DELETE"), "request.malformed"),
        (head(x_original_url="/manage"), "request.malformed"),
        (head(accept="a\nb"), "request.malformed"),
        (Head("GET", "/", "", {}, host="a.example, b.example"), "request.malformed"),
    ],
)
def test_wrong_heads(asked: Head, said: str) -> None:
    assert code(gate(), asked) == said


def test_one_address_can_not_take_more_than_its_rate() -> None:
    clock = Clock()
    one = gate(clock, limits={"address": {"requests": 60, "burst": 2}})
    assert [code(one, head()) for _ in range(4)] == ["", "", "limit.exceeded", "limit.exceeded"]
    assert code(one, head(peer="203.0.113.10")) == ""
    clock.at += SECOND
    assert code(one, head()) == ""
    refused = one.refuse(head())
    assert refused is not None
    assert (refused.status, refused.header("retry-after")) == (429, "1")


def test_an_ipv6_host_is_its_network() -> None:
    assert block("2001:db8::1") == block("2001:db8::ffff:1") == "2001:db8::/64"
    assert block("::ffff:10.0.0.1") == "10.0.0.1"


def test_a_flood_leaves_the_last_fifth_to_where_known_clients_call_from() -> None:
    one = gate(limits={"total": {"requests": 100}, "address": None})
    one.vouch("198.51.100.7")
    flood = [code(one, head(peer=f"203.0.113.{number % 250}")) for number in range(1000)]
    assert flood.count("") == 80
    assert [code(one, head(peer="198.51.100.7")) for _ in range(21)].count("") == 20


def test_bad_credentials_shut_an_address_out_unless_a_known_client_calls_from_there() -> None:
    clock = Clock()
    one = gate(clock, limits={"failures": {"requests": 60, "burst": 3}})
    for _ in range(3):
        one.blame("203.0.113.9")
    assert code(one, head()) == "limit.exceeded"
    one.vouch("203.0.113.9")
    assert code(one, head()) == ""


def test_refusals_speak_the_callers_language_and_are_not_shared() -> None:
    one = gate()
    first, second = (one.refuse(head("/a\\b", accept_language="zh-CN")) for _ in range(2))
    assert first is not None
    assert second is not None
    first.headers.append(("x", "y"))
    assert second.header("x") == ""
    assert re.search("请求格式错误", bytes(second.body).decode())  # type: ignore[arg-type]  # always bytes


@pytest.mark.parametrize(
    "wrong", [{"origins": "*", "credentials": True}, {"origins": "portal.example"}, {"origins": "https://*.example"}]
)
def test_loose_cors_is_no_setting(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CorsEntry.model_validate(wrong)


def test_a_network_with_bits_behind_its_mask_is_no_setting() -> None:
    with pytest.raises(ValidationError, match=r"10\.0\.0\.1/8"):
        GatewayEntry.model_validate({"trusted_proxies": "10.0.0.1/8"})
