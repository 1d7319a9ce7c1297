"""Tokens of another server: its keys are asked for when needed, and its groups mean what the project says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from joserfc.jws import serialize_compact
from tests.gateway.auth.conftest import Gate

from tongqu.core.errors import ConnectError
from tongqu.gateway.problems import Problem

ISSUER = "https://login.example/realms/plant"
KEY = RSAKey.generate_key(2048)
OTHER = RSAKey.generate_key(2048)
ENTRY = {
    "issuer": ISSUER,
    "audience": "tongqu",
    "roles_claim": "realm_access.roles",
    "roles": {"qa-team": "quality"},
    "attributes": {"plant": "plant_code"},
}


class Server:
    """Answers discovery and keys; counts how often."""

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey] = {"k1": KEY}
        self.asked: list[str] = []
        self.down = False

    def __call__(self, url: str, entry: Any) -> bytes:
        self.asked.append(url)
        if self.down:
            raise ConnectError("nobody answers")
        if url.endswith("/.well-known/openid-configuration"):
            return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/certs"}).encode()
        return json.dumps({"keys": [{**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "RS256"}
                                    for kid, key in self.keys.items()]}).encode()  # fmt: skip


def token(gate: Gate, *, kid: str = "k1", key: RSAKey = KEY, alg: str = "RS256", **changed: Any) -> str:
    now = int(gate.clock().timestamp())
    claims = {"iss": ISSUER, "aud": ["account", "tongqu"], "sub": "7f3a", "iat": now, "exp": now + 300,
              "realm_access": {"roles": ["qa-team", "offline"]}, "plant_code": "3", "scope": "openid profile",
              **changed}  # fmt: skip
    kept = {name: value for name, value in claims.items() if value is not None}
    return serialize_compact({"alg": alg, "kid": kid, "typ": "JWT"}, json.dumps(kept).encode(), key, algorithms=[alg])


def test_groups_there_are_roles_here(opened: Callable[..., Gate]) -> None:
    server = Server()
    gate = opened(fetch=server, issuers={"plant": ENTRY})
    actor = gate.bearer(token(gate))
    assert (actor.id, actor.kind, actor.roles) == ("user:plant/7f3a", "user", frozenset({"quality"}))
    assert (actor.attributes["plant"], actor.scopes) == ("3", frozenset())
    gate.bearer(token(gate, sub="another"))
    assert len(server.asked) == 2  # discovery and keys, once


@pytest.mark.parametrize(
    ("told", "scopes"),
    [({"scp": "orders:read openid"}, {"orders:read"}), ({"scp": ["read", "write"]}, {"read", "write"}),
     ({"scope": "read", "scp": "write"}, {"read", "write"}), ({"scp": "access_as_user"}, set()),
     ({"scp": "Files.Read"}, {"Files.Read"}), ({"scp": "view"}, {"items:read", "lines:read"})],
)  # fmt: skip
def test_whatever_the_claim_is_called_a_scope_limits(
    opened: Callable[..., Gate], told: dict[str, Any], scopes: set[str]
) -> None:
    entry = {**ENTRY, "scopes": {"access_as_user": [], "view": ["items:read", "lines:read"]}}
    gate = opened(fetch=Server(), issuers={"plant": entry})
    assert gate.bearer(token(gate, **{"scope": None, **told})).scopes == scopes


@pytest.mark.parametrize(
    "changed",
    [{"aud": "another"}, {"aud": None}, {"iss": "https://evil.example"}, {"exp": None}, {"sub": ""}, {"key": OTHER},
     {"alg": "PS256"}, {"kid": "k9"}, {"nbf": 1_795_334_400 + 100}],
)  # fmt: skip
def test_what_is_not_for_us_or_not_theirs_is_refused(opened: Callable[..., Gate], changed: dict[str, Any]) -> None:
    gate = opened(fetch=Server(), issuers={"plant": ENTRY})
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.bearer(token(gate, **changed))


def test_keys_that_change_there_are_asked_for_again_but_not_for_every_unknown_name(opened: Callable[..., Gate]) -> None:
    server = Server()
    gate = opened(fetch=server, issuers={"plant": ENTRY})
    gate.bearer(token(gate))
    for number in range(20):
        with pytest.raises(Problem):
            gate.bearer(token(gate, kid=f"no{number}"))
    assert len(server.asked) == 2
    server.keys = {"k2": OTHER}
    gate.clock.pass_(20)
    assert gate.bearer(token(gate, kid="k2", key=OTHER)).known
    with pytest.raises(Problem):
        gate.bearer(token(gate, sub="late"))  # signed by a key that is gone


def test_known_keys_outlive_a_server_that_is_down(opened: Callable[..., Gate]) -> None:
    server = Server()
    gate = opened(fetch=server, issuers={"plant": ENTRY})
    server.down = True
    with pytest.raises(Problem, match=r"source\.unavailable"):
        gate.bearer(token(gate))
    server.down = False
    gate.clock.pass_(20)
    gate.bearer(token(gate))
    server.down = True
    gate.clock.pass_(700)
    assert gate.bearer(token(gate)).known


def test_purposes_and_clients_there_are_not_ours(opened: Callable[..., Gate]) -> None:
    gate = opened(fetch=Server(), issuers={"plant": {**ENTRY, "purposes": ["quality control"]}})
    gate.client("mes")
    actor = gate.bearer(token(gate, azp="mes"))
    assert (actor.purpose, actor.attributes["client"]) == ("quality control", "plant/mes")
    assert gate.identity.identities.clients.known("mes").used is None
    with pytest.raises(Problem, match=r"auth\.purpose"):
        gate.actor(headers={"authorization": f"Bearer {token(gate)}", "tongqu-purpose": "marketing"})


def test_an_issuers_token_is_never_taken_for_our_own(opened: Callable[..., Gate]) -> None:
    gate = opened(fetch=Server(), issuers={"plant": ENTRY})
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.bearer(token(gate, iss=gate.identity.access.issuer, client_id="mes", jti="x", gen={"client:mes": 1}))
