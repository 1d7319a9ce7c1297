"""API7, server side request forgery: nothing that a caller or a peer says makes the gateway call anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.owasp.house import House

from tongqu.core.errors import EgressRefusedError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.policy import Grant
from tongqu.testing.hostile_urls import HOSTILE_URLS, resolver
from tongqu.testing.services.http_peer import HttpPeer


@pytest.fixture
def canary() -> Iterator[HttpPeer]:
    """Something inside, that must stay silent."""
    with HttpPeer() as peer:
        yield peer
    assert peer.connections == 0


def test_the_corpus_has_forty_urls_and_more() -> None:
    assert len(HOSTILE_URLS) >= 40


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_an_address_that_comes_from_data_leads_nowhere_inside(url: str) -> None:
    way = Egress(resolver=resolver)
    with pytest.raises(EgressRefusedError):
        place = way.check(url, Grant.DATA)
        way.addresses(place.host, place.port, Grant.DATA)


def test_no_part_of_a_request_is_called(house: House, canary: HttpPeer) -> None:
    url = f"{canary.url}/inside"
    for header in ("Referer", "X-Forwarded-Host", "X-Callback", "Link", "Origin", "Webhook-Url", "SOAPAction"):
        house.ask("alpha", "/api/v1/items", **{header: url})
    house.ask("", "/api/v1/items", authorization=f"Bearer {url}")
    house.raw(f"GET {url} HTTP/1.1\r\nHost: {canary.url[7:]}\r\nConnection: close\r\n\r\n".encode())
    house.raw(f"CONNECT {canary.url[7:]} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    house.ask("alpha", f"/api/v1/items?lot=eq.{url}")
    house.ask("alpha", "/api/v1/items", "POST", {"id": 80, "plant": "A", "lot": url, "line_id": 1})
    assert house.ask("alpha", "/api/v1/items/80", "DELETE").status in (200, 204)


def test_no_document_makes_it_fetch_another(house: House, canary: HttpPeer) -> None:
    url = f"{canary.url}/inside"
    texts = [
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]><rows><row><lot>&e;</lot></row></rows>',
        f'<!DOCTYPE x SYSTEM "{url}"><rows/>',
        f'<?xml-stylesheet href="{url}"?><rows xmlns:xi="http://www.w3.org/2001/XInclude">'
        f'<xi:include href="{url}"/></rows>',
        f'<rows xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="{url}"/>',
    ]
    for text in texts:
        answer = house.ask("alpha", "/api/v1/items", "POST", text.encode(), content_type="application/xml")
        assert answer.status in (201, 400, 403, 413, 415, 422)  # the last two hold no rows, and are not followed
    for version, kind in (("http://schemas.xmlsoap.org/soap/envelope/", "text/xml"),
                          ("http://www.w3.org/2003/05/soap-envelope", "application/soap+xml")):  # fmt: skip
        body = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]><s:Envelope xmlns:s="{version}"><s:Body>&e;</s:Body>'
        body += "</s:Envelope>"
        answer = house.ask("alpha", "/soap/v1/items", "POST", body.encode(), content_type=kind)
        assert answer.status >= 400


def test_a_redirect_of_the_login_goes_only_where_it_is_registered(house: House, canary: HttpPeer) -> None:
    query = f"response_type=code&client_id=alpha&redirect_uri={canary.url}/back&code_challenge_method=S256"
    query += f"&code_challenge={'a' * 43}"
    answer = house.ask("", f"/oauth/authorize?{query}&state=x")
    assert answer.status in (400, 401, 403)
    assert "location" not in answer.headers
