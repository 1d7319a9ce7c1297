"""Which addresses may be contacted: the corpus of URLs that come from data, and what nobody may contact."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings, strategies

from tongqu.core.errors import EgressRefusedError
from tongqu.kit.egress.dial import Egress, same_host
from tongqu.kit.egress.networks import is_public, meant, networks
from tongqu.kit.egress.own_ports import listening
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.policy import Grant, Policy
from tongqu.testing.hostile_urls import HOSTILE_URLS, PUBLIC, resolver

ALLOWED = [
    "http://example.com/",
    "https://example.com:8443/next?page=2",
    "http://EXAMPLE.com./",
    "https://例子.中国/",
    f"http://{PUBLIC}/",
    "wss://example.com/live",
]


def reached(way: Egress, url: str, grant: Grant) -> list[str]:
    """The addresses that a call of the URL would go to."""
    place = way.check(url, grant)
    return [str(one.address) for one in way.addresses(place.host, place.port, grant)]


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_data_leads_nowhere_inside(url: str) -> None:
    with pytest.raises(EgressRefusedError) as refused:
        reached(Egress(resolver=resolver), url, Grant.DATA)
    assert str(refused.value) == "this address may not be contacted"
    assert refused.value.hint
    assert not refused.value.retryable


@pytest.mark.parametrize("url", ALLOWED)
def test_data_may_lead_to_public_places(url: str) -> None:
    assert reached(Egress(resolver=resolver), url, Grant.DATA) == [PUBLIC]


@pytest.mark.parametrize(
    "url", ["http://10.0.0.5:9000/", "http://localhost:9000/", "http://[fc00::1]/", "http://erp.local/"]
)
def test_the_operator_vouches_for_her_own_connections(url: str) -> None:
    assert reached(Egress(resolver=resolver), url, Grant.OPERATOR)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://100.100.100.200/", "http://169.254.0.23/",
        "http://[64:ff9b::a9fe:a9fe]/", "http://metadata.google.internal/", "http://cloud.example/", "http://0x7f.1/",
        "http://user@erp.local/",
    ],
)  # fmt: skip
def test_what_nobody_may_contact(url: str) -> None:
    with pytest.raises(EgressRefusedError):
        reached(Egress(resolver=resolver), url, Grant.OPERATOR)


def test_data_may_stay_at_the_place_that_the_connection_names() -> None:
    way = Egress([("ERP.local.", 8443)], resolver=resolver)
    assert reached(way, "https://erp.local:8443/page/2", Grant.DATA) == ["10.2.0.5"]
    with pytest.raises(EgressRefusedError, match="may not be contacted"):
        reached(way, "https://erp.local:9443/", Grant.DATA)


def test_networks_can_be_allowed_but_never_metadata() -> None:
    way = Egress(resolver=resolver, allow=networks(["10.2.0.0/16", "169.254.0.0/16"]))
    assert reached(way, "http://erp.local/", Grant.DATA) == ["10.2.0.5"]
    with pytest.raises(EgressRefusedError) as refused:
        reached(way, "http://169.254.169.254/", Grant.DATA)
    assert "metadata" in refused.value.hint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "localhost", "::ffff:127.0.0.1"])  # noqa: S104  # only asked for
def test_own_ports_are_refused_to_everybody(host: str) -> None:
    way = Egress([(host, 8700)], resolver=resolver)
    assert way.addresses(host, 8700)
    with listening(8700), pytest.raises(EgressRefusedError) as refused:
        way.addresses(host, 8700)
    assert "Tongqu itself listens" in refused.value.hint
    assert way.addresses(host, 8700)


def test_another_machine_may_have_our_port() -> None:
    policy = Policy(own=lambda: frozenset({8700}))
    assert Egress(resolver=resolver, policy=policy).addresses("10.2.0.5", 8700)


@given(number=strategies.integers(0, (1 << 32) - 1))
@settings(max_examples=60)
def test_public_is_never_more_than_the_standard_library_says(number: int) -> None:
    address = IPv4Address(number)
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
    dressed = [f"::ffff:{address}", f"64:ff9b::{address}", str(IPv6Address((0x2002 << 112) | (number << 80)))]
    assert not any(is_public(IPv6Address(text)) for text in dressed)
    assert all(address in meant(IPv6Address(text)) for text in dressed)


def test_a_place_has_one_spelling() -> None:
    assert Place.of("EXAMPLE.com.", 80) == Place("example.com", 80)
    assert str(Place.of("[2001:DB8::0:1]", 443)) == "[2001:db8::1]:443"
    assert same_host("bücher.example", "xn--bcher-kva.example")
    assert not same_host("example.com", "еxample.com")
