"""Credentials reach the connection's own host, tokens are asked for once and renewed in time."""

from __future__ import annotations

import json
import ssl
import stat
from base64 import urlsafe_b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from tongqu.core.errors import AuthError, ConnectError, InvalidSettingsError
from tongqu.kit.http.call import Call, Grant
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.swift_clock import SwiftClock

Client = Callable[..., Http]


class Vault(HttpPeer):
    """Gives numbered tokens at /token, and shows at /data what came with the call."""

    def __init__(self, lasting: float = 7200, tls: ssl.SSLContext | None = None, **answer: Any):
        super().__init__({"/token": self.token, "/data": self.data}, tls=tls)
        self.given = 0
        self.lasting = lasting
        self.extra = answer
        self.good: set[str] = set()

    def token(self, asked: Asked, out: Out) -> None:
        del asked
        self.given += 1
        self.good = {f"token-{self.given}"}
        out.json({"access_token": f"token-{self.given}", "expires_in": self.lasting, **self.extra})

    def data(self, asked: Asked, out: Out) -> None:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ") or asked.query.get("access_token", "")
        if token not in self.good and self.given:
            if "access_token" in asked.query:
                out.json({"errcode": 42001, "errmsg": "access_token expired"})
            else:
                out.json({"message": "expired"}, 401)
            return
        out.json({"errcode": 0, "query": asked.query, "headers": dict(asked.headers)})


def seen(http: Http, path: str = "data") -> dict[str, Any]:
    got: dict[str, Any] = json.loads(http.send(Call("GET", http.url(path))).content)
    return got


@pytest.mark.parametrize(
    ("auth", "where", "name", "value"),
    [
        ({"basic": {"user": "张三", "password": "p:w"}}, "headers", "authorization", "Basic 5byg5LiJOnA6dw=="),
        ({"bearer": "abc"}, "headers", "authorization", "Bearer abc"),
        ({"api_key": {"value": "k1"}}, "headers", "x-api-key", "k1"),
        ({"api_key": {"name": "Authorization", "value": "k", "prefix": "APPCODE "}}, "headers", "authorization",
         "APPCODE k"),
        ({"api_key": {"name": "key", "value": "k 1", "in": "query"}}, "query", "key", "k 1"),
        ({"api_key": {"name": "sid", "value": "k1", "in": "cookie"}}, "headers", "cookie", "sid=k1"),
    ],
)  # fmt: skip
def test_fixed_credentials(client: Client, auth: dict[str, Any], where: str, name: str, value: str) -> None:
    with Vault() as peer:
        assert seen(client(peer.url, auth=auth))[where][name] == value


def test_credentials_do_not_leave_the_own_host(client: Client) -> None:
    with Vault() as peer, Vault() as other:
        peer.routes["/away"] = lambda asked, out: out.answer(302, Location=other.url + "/data")
        own = {"auth": {"bearer": "abc"}, "headers": {"X-Tenant": "t1"}, "allow": ["127.0.0.0/8"]}
        http = client(peer.url, **own)
        assert seen(http)["headers"].keys() >= {"authorization", "x-tenant"}
        headers = {"Authorization": "mine", "Cookie": "c=1", "Accept": "application/json"}
        for call in (
            Call("GET", http.url("away"), (), headers),
            Call("GET", other.url + "/data", grant=Grant.DATA),
            Call("GET", other.url + "/data"),
        ):
            arrived = json.loads(http.send(call).content)["headers"]
            assert not {"authorization", "cookie", "x-tenant"} & set(arrived)
        call = Call("GET", other.url + "/data", (), {"X-Api-Key": "k", "Accept": "application/json"}, grant=Grant.DATA)
        arrived = json.loads(http.send(call).content)["headers"]
        assert (arrived["accept"], "x-api-key" in arrived) == ("application/json", False)


def test_one_token_for_many_threads_and_a_new_one_before_it_ends(client: Client) -> None:
    clock = SwiftClock()
    with Vault(lasting=1000) as peer:
        oauth = {"token_url": peer.url + "/token", "client_id": "a b", "client_secret": "s", "scope": "read write"}
        http = client(peer.url, clock=clock, auth={"oauth2": oauth}, limits={"concurrency": 8})
        with ThreadPoolExecutor(8) as threads:
            assert len(list(threads.map(lambda _: seen(http), range(16)))) == 16
        assert peer.given == 1
        asked = next(call for call in peer.calls if call.path == "/token")
        assert asked.headers["authorization"] == "Basic YSUyMGI6cw=="
        assert dict(parse_qsl(asked.body.decode())) == {"grant_type": "client_credentials", "scope": "read write"}
        clock.advance(890)
        seen(http)
        assert peer.given == 1
        clock.advance(15)
        assert seen(http)["headers"]["authorization"] == "Bearer token-2"
        assert list(http.stages()) == ["dns", "tcp", "login"]


def test_clients_of_one_connection_share_its_token(client: Client) -> None:
    clock = SwiftClock()
    with Vault() as peer:
        oauth = {"token_url": peer.url + "/token", "client_id": "a", "client_secret": "s"}
        same = [client(peer.url, clock=clock, auth={"oauth2": oauth}) for _ in range(3)]
        assert {seen(http)["headers"]["authorization"] for http in same} == {"Bearer token-1"}
        seen(client(peer.url, clock=clock, auth={"oauth2": {**oauth, "client_secret": "other"}}))
        assert peer.given == 2


def test_a_token_address_is_shown_the_client_certificate_and_others_are_not(client: Client, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    asks = authority.server(asks=True)
    with Vault(tls=asks) as peer, Vault(tls=asks) as tokens, Vault(tls=asks) as other:
        tls = {"ca_file": str(authority.ca_file), "cert_file": str(authority.issue("us"))}
        oauth = {"token_url": tokens.url + "/token", "client_id": "us", "client_auth": "none"}
        http = client(peer.url, tls=tls, auth={"oauth2": oauth}, retry={"attempts": 1}, allow=["127.0.0.0/8"])
        assert seen(http)["headers"]["authorization"] == "Bearer token-1"
        with pytest.raises(ConnectError):
            http.send(Call("GET", other.url + "/data", grant=Grant.DATA))


def test_a_refused_login_says_what_is_wanted(client: Client) -> None:
    with HttpPeer({"/": lambda asked, out: out.answer(401, WWW_Authenticate="NTLM x")}) as peer:
        with pytest.raises(AuthError) as caught:
            client(peer.url, auth={"bearer": "a"}).send(Call("GET", peer.url + "/"))
        assert caught.value.hint == "the system asks for NTLM"


def test_a_refused_call_without_credentials_says_that_there_are_none(client: Client) -> None:
    with HttpPeer({"/": lambda asked, out: out.json({"message": "bad token"}, 401)}) as peer:
        with pytest.raises(AuthError) as caught:
            client(peer.url).send(Call("GET", peer.url + "/"))
        assert caught.value.hint == (
            "the system says: bad token; the connection gives no credentials: write `auth`, see docs/http.md"
        )


def test_a_token_that_the_system_forgot_is_renewed_once(client: Client) -> None:
    with Vault() as peer:
        oauth = {"token_url": peer.url + "/token", "client_id": "a", "client_auth": "body", "client_secret": "s"}
        http = client(peer.url, auth={"oauth2": oauth})
        seen(http)
        peer.good.clear()
        reply = http.send(Call("POST", http.url("data"), body=b"{}"))
        assert (reply.status, peer.given) == (200, 2)
        assert dict(parse_qsl(peer.calls[0].body.decode())).keys() >= {"client_id", "client_secret"}
        peer.routes["/data"] = lambda asked, out: out.json({"message": "no"}, 401)
        with pytest.raises(AuthError):
            seen(http)
        assert peer.given == 3


def test_tokens_by_get_in_the_query_as_in_wecom(client: Client) -> None:
    with Vault(errcode=0) as peer:
        token = {
            "url": peer.url + "/token",
            "query": {"corpid": "c1", "corpsecret": "s1"},
            "put": {"query": {"access_token": "{token}"}},
            "refused": {"errcode": [40014, 42001]},
        }
        http = client(peer.url, auth={"token": token})
        assert seen(http)["query"] == {"access_token": "token-1"}
        assert peer.calls[0].query == {"corpid": "c1", "corpsecret": "s1"}
        peer.good.clear()
        assert seen(http)["query"] == {"access_token": "token-2"}


@pytest.mark.parametrize(
    ("body", "path", "expires", "header"),
    [
        ({"appKey": "k", "appSecret": "s"}, "accessToken", "expireIn", "x-acs-dingtalk-access-token"),
        ({"app_id": "k", "app_secret": "s"}, "tenant_access_token", "expire", "Authorization"),
        ({"user": "k", "pwd": "s"}, "data.token", "data.ttl", "X-Token"),
    ],
)
def test_tokens_by_post_as_in_dingtalk_feishu_and_house_made_systems(
    client: Client, body: dict[str, str], path: str, expires: str, header: str
) -> None:
    answer: dict[str, Any] = {path: "t-9", expires: 60}
    if "." in path:
        answer = {"data": {"token": "t-9", "ttl": 60}}
    with Vault() as peer:
        peer.routes["/token"] = lambda asked, out: out.json(answer if asked.json() == body else {"msg": "wrong secret"})
        token = {"url": peer.url + "/token", "method": "POST", "body": body, "token": path, "expires": expires}
        http = client(peer.url, auth={"token": {**token, "put": {"headers": {header: "{token}"}}}})
        assert seen(http)["headers"][header.lower()] == "t-9"
        wrong = client(peer.url, auth={"token": {**token, "body": {"x": "y"}}})
        with pytest.raises(AuthError, match="gave no token") as caught:
            seen(wrong)
        assert caught.value.hint == "the system says: wrong secret"


def test_a_refresh_token_that_was_replaced_survives(client: Client, tmp_path: Path) -> None:
    with Vault() as peer:
        used: list[str] = []

        def refresh(asked: Asked, out: Out) -> None:
            form = dict(parse_qsl(asked.body.decode()))
            used.append(form["refresh_token"])
            out.json({"access_token": f"t{len(used)}", "refresh_token": f"r{len(used)}", "expires_in": 60})

        peer.routes["/token"] = refresh
        oauth = {"token_url": peer.url + "/token", "grant": "refresh_token", "refresh_token": "r0"}
        for _ in range(3):
            seen(client(peer.url, auth={"oauth2": oauth}, folder=tmp_path / "home"))
        assert used == ["r0", "r1", "r2"]
        kept = tmp_path / "home" / "oauth2.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        seen(client(peer.url, auth={"oauth2": {**oauth, "refresh_token": "new"}}, folder=tmp_path / "home"))
        assert used[-1] == "new"


def test_a_refresh_token_is_used_once_whoever_refreshes(client: Client, tmp_path: Path) -> None:
    with Vault() as peer:
        newest = ["r0"]

        def refresh(asked: Asked, out: Out) -> None:
            used = dict(parse_qsl(asked.body.decode()))["refresh_token"]
            if used != newest[0]:
                out.json({"error": "invalid_grant", "error_description": "used twice"}, 400)
                return
            out.pause(0.02)
            newest[0] = f"r{int(used[1:]) + 1}"
            out.json({"access_token": f"t-{used}", "refresh_token": newest[0]})

        peer.routes["/token"] = refresh
        oauth = {"token_url": peer.url + "/token", "grant": "refresh_token", "refresh_token": "r0"}
        many = [client(peer.url, auth={"oauth2": oauth}, folder=tmp_path / "home") for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            tokens = [got["headers"]["authorization"] for got in threads.map(seen, many)]
        assert sorted(tokens) == [f"Bearer t-r{n}" for n in range(4)]
        newest[0] = "another"
        with pytest.raises(AuthError) as caught:
            seen(client(peer.url, auth={"oauth2": oauth}, folder=tmp_path / "home"))
        assert caught.value.hint == "the system says: used twice invalid_grant"


def decoded(part: str) -> dict[str, Any]:
    got: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=="))
    return got


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
def test_assertions_are_signed(client: Client, algorithm: str) -> None:
    private: Any = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with Vault() as peer:
        oauth = {
            "token_url": peer.url + "/token",
            "grant": "jwt_bearer",
            "issuer": "me",
            "subject": "user@example.com",
            "key": pem,
            "key_id": "k1",
            "algorithm": algorithm,
            "claims": {"scope": "read"},
        }
        seen(client(peer.url, auth={"oauth2": oauth}))
        form = dict(parse_qsl(peer.calls[0].body.decode()))
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, body, signature = form["assertion"].split(".")
    assert decoded(head) == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    claims = decoded(body)
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("me", "user@example.com", peer.url + "/token")
    assert (claims["exp"] - claims["iat"], claims["scope"]) == (300, "read")
    raw, text, public = urlsafe_b64decode(signature + "=="), f"{head}.{body}".encode(), private.public_key()
    if algorithm == "ES256":
        der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public.verify(der, text, ec.ECDSA(hashes.SHA256()))
    else:
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        public.verify(raw, text, pss if algorithm == "PS256" else padding.PKCS1v15(), hashes.SHA256())


def test_a_client_may_prove_itself_by_an_assertion(client: Client) -> None:
    with Vault() as peer:
        oauth = {"token_url": peer.url + "/token", "client_id": "me", "client_auth": "jwt", "algorithm": "HS256"}
        seen(client(peer.url, auth={"oauth2": {**oauth, "key": "a shared secret of some length"}}))
        form = dict(parse_qsl(peer.calls[0].body.decode()))
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert decoded(form["client_assertion"].split(".")[1])["sub"] == "me"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "https://u:p@host/"}, "belong under `auth"),
        ({"base_url": "ftp://host/"}, "begins with https"),
        ({"auth": {}}, "name one of"),
        ({"auth": {"basic": {"user": "u"}, "bearer": "b"}}, "exclude each other"),
        ({"auth": {"oauth2": {"token_url": "https://a/t", "grant": "password", "user": "u"}}}, "needs `password`"),
        ({"auth": {"oauth2": {"token_url": "https://a/t", "client_id": "c", "client_auth": "jwt"}}}, "needs `key`"),
        ({"auth": {"token": {"url": "/t"}}}, "token address begins with"),
        ({"auth": {"token": {"url": "https://a/t", "body": {"a": "b"}}}}, "needs `method: POST`"),
        ({"auth": {"signature": {"secret": "s", "text": "x", "put": {}}}}, "places no"),
        ({"tls": {"key_file": "k"}}, "needs tls.cert_file"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettingsError, match=message):
        HttpSettings.parse({"base_url": "https://host.example/", **settings})


def test_a_key_that_does_not_fit_is_not_shown(client: Client) -> None:
    with Vault() as peer:
        oauth = {"token_url": peer.url + "/token", "grant": "jwt_bearer", "issuer": "me", "key": "no PEM at all"}
        with pytest.raises(InvalidSettingsError, match="does not fit RS256") as caught:
            seen(client(peer.url, auth={"oauth2": oauth}))
        assert "no PEM" not in str(caught.value.problem())
