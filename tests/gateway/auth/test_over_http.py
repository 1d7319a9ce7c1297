"""Authlib's client, which we did not write, against our endpoints over a real port."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import RSAKey

from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.auth.passwords import hashed
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.publication import Publication
from tongqu.gateway.site import Route, Site, Stages
from tongqu.store.home import Home
from tongqu.store.identity.clients import Client
from tongqu.store.identity.users import User
from tongqu.store.scrub import Scrubber
from tongqu.testing.running_site import RunningSite

BACK = "http://127.0.0.1:1/back"
PASSWORD = "correct horse battery staple"


class WhoAmI:
    """Answers with the caller."""

    async def handle(self, request: Request) -> Reply:
        return Reply(200, [("content-type", "text/plain")], request.actor.id.encode())


class Running:
    """A gateway that knows callers, on a port."""

    def __init__(self, home: Path):
        self.home = Home(home)
        self.identity = Identity.open(self.home, Scrubber(), IdentitySettings())
        self.site = RunningSite(self._made)

    def _made(self) -> Site:
        oauth = self.identity.oauth
        routes = [Route("/oauth", oauth, "open"), Route("/.well-known", oauth, "open"), Route("/me", WhoAmI(), "known")]
        return Site(routes, Publication("1.a"), Stages(identify=self.identity.identify))

    def url(self, path: str) -> str:
        return f"{self.site.url}{path}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("home"))
    clients, users = made.identity.identities.clients, made.identity.identities.users
    users.add(User("zhang", roles=("quality",), password=hashed(PASSWORD)))
    clients.add(Client("mes", roles=("quality",), scopes=("read", "write")))
    clients.add(
        Client("app", public=True, redirects=(BACK,), scopes=("read",), grants=("authorization_code", "refresh_token"))
    )
    with made.site:
        yield made
    made.identity.close()


def who(running: Running, token: str) -> httpx.Response:
    return httpx.get(running.url("/me"), headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_credentials(running: Running, method: str) -> None:
    secret = running.identity.identities.clients.issue("mes", "secret").secret
    with OAuth2Session("mes", secret, scope="read", token_endpoint_auth_method=method) as client:
        token = client.fetch_token(running.url("/oauth/token"))
        assert (token["token_type"], token["scope"]) == ("Bearer", "read")
        assert client.get(running.url("/me")).text == "client:mes"
        told = client.introspect_token(running.url("/oauth/introspect"), token["access_token"]).json()
        assert (told["active"], told["scope"]) == (True, "read")
        assert client.revoke_token(running.url("/oauth/revoke"), token["access_token"]).status_code == 200
        refused = client.get(running.url("/me"))
    assert (refused.status_code, refused.json()["code"]) == (401, "auth.invalid")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_private_key_jwt(running: Running) -> None:
    key = RSAKey.generate_key(2048)
    running.identity.identities.clients.add(Client("plc", jwks=(key.as_dict(private=False),)))
    url = running.url("/oauth/token")
    pem = key.as_pem(private=True)
    with OAuth2Session("plc", pem, token_endpoint_auth_method="private_key_jwt") as client:
        client.register_client_auth_method(PrivateKeyJWT(url))
        client.fetch_token(url)
        assert client.get(running.url("/me")).text == "client:plc"


def test_authorization_code_with_pkce_refresh_and_revocation(running: Running) -> None:
    verifier = generate_token(48)
    with (
        OAuth2Session(
            "app", redirect_uri=BACK, scope="read", code_challenge_method="S256", token_endpoint_auth_method="none"
        ) as client,
        httpx.Client() as browser,
    ):
        url, state = client.create_authorization_url(running.url("/oauth/authorize"), code_verifier=verifier)
        page = browser.get(url)
        fields = {
            name: html.unescape(value)
            for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
        }
        form = {**fields, "username": "zhang", "password": PASSWORD, "answer": "yes"}
        answer = browser.post(running.url("/oauth/authorize"), data=form)
        assert answer.status_code == 303
        back = answer.headers["location"]
        assert back.startswith(BACK)
        token = client.fetch_token(
            running.url("/oauth/token"), authorization_response=back, state=state, code_verifier=verifier
        )
        assert client.get(running.url("/me")).text == "user:zhang"
        fresh = client.refresh_token(running.url("/oauth/token"), token["refresh_token"])
        assert fresh["refresh_token"] != token["refresh_token"]
        assert who(running, fresh["access_token"]).text == "user:zhang"
        client.revoke_token(running.url("/oauth/revoke"), fresh["refresh_token"])
        assert who(running, fresh["access_token"]).status_code == 401
        assert browser.get(running.url("/me")).text == "user:zhang"  # the browser has a session of its own


def test_the_login_page_has_its_own_policy_and_only_one(running: Running) -> None:
    page = httpx.get(running.url("/oauth/authorize?client_id=app"))
    assert page.status_code == 400
    [policy] = page.headers.get_list("content-security-policy")
    assert "frame-ancestors 'none'" in policy


def test_discovery(running: Running) -> None:
    told = httpx.get(running.url("/.well-known/oauth-authorization-server")).json()
    keys = httpx.get(told["jwks_uri"]).json()["keys"]
    assert told["issuer"] == running.site.url
    assert {key["alg"] for key in keys} == {"ES256"}


def test_another_process_hears_of_a_revocation_within_a_second(running: Running) -> None:
    """The gateway remembers the token; somebody else cuts the client off, in a process and a connection of its own."""
    other = Identity.open(running.home, Scrubber(), IdentitySettings())
    try:
        other.identities.clients.add(Client("short"))
        secret = other.identities.clients.issue("short", "secret").secret
        with OAuth2Session("short", secret) as client:
            token = client.fetch_token(running.url("/oauth/token"))["access_token"]
        assert who(running, token).status_code == 200
        began = time.monotonic()
        other.identities.clients.revoke("short")
        while who(running, token).status_code == 200:
            assert time.monotonic() - began < 1.0
    finally:
        other.close()
