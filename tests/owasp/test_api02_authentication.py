"""API2, broken authentication: forged, stolen, old and guessed credentials are all the same refusal."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.owasp.house import House

from tongqu.gateway.attacks.heads import tokens
from tongqu.store.home import Home
from tongqu.store.identity.identities import Identities
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway

PATH = "/api/v1/items"


def shown(house: House, token: str) -> int:
    return house.ask("", PATH, authorization=f"Bearer {token}").status


def part(token: str, number: int) -> dict[str, Any]:
    text = token.split(".")[number]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def signed(key: EllipticCurvePrivateKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = (json.dumps(one).encode() for one in (header, claims))
    text = ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts)
    r, s = decode_dss_signature(key.sign(text.encode(), ECDSA(SHA256())))
    mark = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=")
    return f"{text}.{mark.decode()}"


@pytest.fixture
def forge(house: House) -> Callable[..., str]:
    """Makes tokens of alpha with other words in them, signed with the gateway's own stolen key."""
    identities = Identities.open(Home(house.gateway.home), Scrubber())
    try:
        key = load_pem_private_key(identities.signing.published()[0].private.encode(), None)
    finally:
        identities.close()
    assert isinstance(key, EllipticCurvePrivateKey)
    stolen = key

    def make(header: dict[str, Any], claims: dict[str, Any], by: EllipticCurvePrivateKey = stolen) -> str:
        good = house.tokens["alpha"]
        told = {**part(good, 1), **claims}
        return signed(by, {**part(good, 0), **header}, {name: one for name, one in told.items() if one is not None})

    return make


@pytest.mark.parametrize(("name", "token"), list(tokens()), ids=lambda value: str(value)[:30])
def test_tokens_that_were_never_good(house: House, name: str, token: str) -> None:
    assert shown(house, token) in (400, 401, 431), name


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"alg": "none"}, {}), ({"alg": "HS256"}, {}), ({"jku": "http://127.0.0.1/keys"}, {}),
        ({"x5u": "http://127.0.0.1/cert"}, {}), ({"jwk": {"kty": "EC"}}, {}), ({"crit": ["exp"]}, {}),
        ({"typ": "JWT"}, {}), ({"kid": "../../../dev/null"}, {}), ({"kid": "' OR 1=1 --"}, {}),
        ({}, {"aud": "another"}), ({}, {"iss": "https://evil.example"}), ({}, {"exp": 1_000_000_000}),
        ({}, {"exp": None}), ({}, {"nbf": 4_000_000_000}), ({}, {"sub": "client:beta"}), ({}, {"jti": None}),
        ({}, {"gen": {}}),
    ],
)  # fmt: skip
def test_even_the_right_key_makes_no_other_token(
    house: House, forge: Callable[..., str], header: dict[str, Any], claims: dict[str, Any]
) -> None:
    assert shown(house, forge(header, claims)) == 401


def test_the_forger_could_make_a_good_one_and_another_key_cannot(house: House, forge: Callable[..., str]) -> None:
    assert shown(house, forge({}, {"jti": "another"})) == 200
    assert shown(house, forge({}, {}, generate_private_key(SECP256R1()))) == 401


def test_every_refusal_reads_the_same(house: House, forge: Callable[..., str]) -> None:
    bad = [forge({}, {"aud": "x"}), forge({"kid": "x"}, {}), "a.b.c", "x" * 40]
    answers = [house.ask("", PATH, authorization=f"Bearer {token}").json for token in bad]
    assert len({json.dumps({**answer, "instance": ""}) for answer in answers}) == 1


def test_credentials_in_the_address_are_not_looked_at(house: House) -> None:
    for name in ("access_token", "token", "api_key"):
        answer = house.ask("", f"{PATH}?{name}={house.tokens['alpha']}")
        assert answer.status == 401
        assert house.tokens["alpha"].encode() not in answer.body


def test_what_is_revoked_is_over_within_a_second(house: House, tmp_path: Path) -> None:
    folder = house.gateway.home.parent
    environ = {"SHOP_URL": house.shop}
    assert inside(folder, "client", "add", "brief", "--role", "quality", "--json", **environ).code == 0
    token = inside(folder, "token", "issue", "brief", "--json", **environ).document["access_token"]
    assert shown(house, token) == 200
    assert inside(folder, "client", "revoke", "brief", "--json", **environ).code == 0
    began = time.monotonic()
    house.gateway.until(lambda _: shown(house, token) == 401, seconds=3)
    assert time.monotonic() - began < 1.5
    del tmp_path


def test_guessing_secrets_ends_after_some_tries_and_hits_nobody_else(tmp_path: Path) -> None:
    text = (
        "project: guess\nconnections:\n  lake: {type: sqlite, path: lake.db}\n"
        "gateway: {trusted_proxies: [127.0.0.1/32], limits: {failures: {requests: 20, per: minute, burst: 10}}}\n"
    )
    (tmp_path / "tongqu.yaml").write_text(text)
    good = inside(tmp_path, "client", "add", "mes", "--role", "quality", "--json").document["client_secret"]
    with Gateway(tmp_path) as gateway:

        def login(secret: str, address: str) -> int:
            form = urlencode({"grant_type": "client_credentials", "client_id": "mes", "client_secret": secret})
            headers = [("content-type", "application/x-www-form-urlencoded"), ("x-forwarded-for", address)]
            return gateway.ask("/oauth/token", "POST", form.encode(), headers).status

        tries = [login(f"tqs_{number}", "203.0.113.9") for number in range(40)]
        assert tries.count(429) >= 20
        assert set(tries) <= {400, 401, 429}
        assert login(good, "203.0.113.9") == 429
        assert login(good, "198.51.100.7") == 200
