"""Client credentials and access tokens: what is in them, when they end, and that nothing forged is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import serialize_compact
from tests.gateway.auth.conftest import Gate

from tongqu.gateway.problems import Problem


def part(told: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()


def opened_part(token: str, number: int) -> Any:
    text = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def refused(gate: Gate, token: str) -> str:
    with pytest.raises(Problem) as found:
        gate.bearer(token)
    assert not found.value.detail  # nothing tells which part was wrong
    return found.value.code


def test_a_client_gets_a_token_and_is_known_by_it(gate: Gate) -> None:
    secret = gate.client(attributes={"plant": 3}, purposes=("quality control", "audit"))
    told = gate.token("mes", secret)
    assert (told["status"], told["token_type"], told["expires_in"]) == (200, "Bearer", 600)
    actor = gate.bearer(told["access_token"])
    assert (actor.id, actor.kind, actor.roles) == ("client:mes", "client", frozenset({"quality"}))
    assert (actor.attributes["plant"], actor.purpose, actor.address) == (3, "quality control", "192.0.2.7")
    header, claims = opened_part(told["access_token"], 0), opened_part(told["access_token"], 1)
    assert (header["typ"], header["alg"], claims["aud"]) == ("at+jwt", "ES256", "tongqu")
    assert {"iss", "sub", "client_id", "iat", "exp", "jti"} <= set(claims) and "quality" not in str(claims)


def test_nobody_is_nobody_and_a_bad_secret_is_refused(gate: Gate) -> None:
    gate.client()
    assert gate.actor().kind == "anonymous"
    told = gate.token("mes", "tqs_0000000000_guess")
    assert (told["status"], told["error"]) == (401, "invalid_client")
    assert gate.token("nobody", "x")["error_description"] == told["error_description"]


def test_a_purpose_must_be_granted(gate: Gate) -> None:
    token = gate.token("mes", gate.client(purposes=("a", "b")))["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    assert gate.actor(headers={**headers, "tongqu-purpose": "b"}).purpose == "b"
    with pytest.raises(Problem, match=r"auth\.purpose"):
        gate.actor(headers={**headers, "tongqu-purpose": "marketing"})


def test_scopes_are_narrowed_never_widened(gate: Gate) -> None:
    secret = gate.client(scopes=("inspections:read", "orders:read"))
    assert gate.token("mes", secret)["scope"] == "inspections:read orders:read"
    narrow = gate.token("mes", secret, scope="orders:read")
    assert gate.bearer(narrow["access_token"]).scopes == {"orders:read"}
    assert gate.token("mes", secret, scope="orders:write")["error"] == "invalid_scope"


def test_what_a_client_may_have_limits_tokens_that_are_out_already(gate: Gate) -> None:
    secret = gate.client()
    every = gate.token("mes", secret)["access_token"]
    some = gate.token("mes", secret, scope="orders:read orders:write")["access_token"]
    other = gate.token("mes", secret, scope="lots:read")["access_token"]
    gate.identity.identities.clients.change("mes", scopes=("orders:read", "parts:read"))
    assert gate.bearer(every).scopes == {"orders:read", "parts:read"}
    assert gate.bearer(some).scopes == {"orders:read"}
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.bearer(other)


def test_a_changed_right_counts_for_tokens_that_are_out(gate: Gate) -> None:
    token = gate.token("mes", gate.client())["access_token"]
    other = gate.another()
    assert gate.actor(at=other, headers={"authorization": f"Bearer {token}"}).roles == {"quality"}
    gate.identity.identities.clients.change("mes", roles=("hr",))
    assert gate.bearer(token).roles == {"hr"}
    gate.clock.pass_(1)
    assert gate.actor(at=other, headers={"authorization": f"Bearer {token}"}).roles == {"hr"}


@pytest.mark.parametrize("how", ["token", "client", "disabled", "removed and made again", "removed"])
def test_what_is_revoked_ends_in_every_process_within_a_second(gate: Gate, how: str) -> None:
    secret = gate.client()
    token = gate.token("mes", secret)["access_token"]
    other = gate.another()
    gate.bearer(token)
    gate.actor(at=other, headers={"authorization": f"Bearer {token}"})
    clients = gate.identity.identities.clients
    gate.clock.pass_(0.01)
    if how == "token":
        gate.post("/oauth/revoke", {"token": token}, basic=("mes", secret))
    elif how == "client":
        clients.revoke("mes")
    elif how == "disabled":
        clients.change("mes", disabled=True)
    else:
        clients.remove("mes")
        if how == "removed and made again":
            gate.client()
    assert refused(gate, token) == "auth.invalid"
    gate.clock.pass_(0.99)
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.actor(at=other, headers={"authorization": f"Bearer {token}"})


def test_an_expired_token_is_told_as_such(gate: Gate) -> None:
    token = gate.token("mes", gate.client())["access_token"]
    gate.bearer(token)  # it is remembered, and forgotten in time
    gate.clock.pass_(600)
    assert refused(gate, token) == "auth.expired"


def test_a_client_that_ends_gets_no_token_beyond_its_end(gate: Gate) -> None:
    secret = gate.client(expires=gate.clock().timestamp() + 100)
    assert gate.token("mes", secret)["expires_in"] == 100
    gate.clock.pass_(100)
    assert gate.token("mes", secret)["error"] == "invalid_client"


def signed(gate: Gate, header: str, claims: str) -> str:
    """Any two texts signed with the gateway's own key, as no library would."""
    key = load_pem_private_key(gate.identity.identities.signing.published()[0].private.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    text = ".".join(base64.urlsafe_b64encode(one.encode()).rstrip(b"=").decode() for one in (header, claims))
    r, s = decode_dss_signature(key.sign(text.encode(), ECDSA(SHA256())))
    mark = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=")
    return f"{text}.{mark.decode()}"


def forged(gate: Gate, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """A good token with other words in it, signed again."""
    good = gate.token("mes", gate.client())["access_token"]
    told = {**opened_part(good, 1), **(claims or {})}
    kept = {name: value for name, value in told.items() if value is not None}
    return signed(gate, json.dumps({**opened_part(good, 0), **(header or {})}), json.dumps(kept))


NOW = 1_795_334_400  # the clock of the tests


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"jku": "https://evil.test/jwks.json"}, {}),
        ({"x5u": "https://evil.test/cert.pem"}, {}),
        ({"jwk": {"kty": "EC"}}, {}),
        ({"x5c": ["MIIB"]}, {}),
        ({"crit": ["exp"]}, {}),
        ({"typ": "JWT"}, {}),
        ({"kid": "../../../../dev/null"}, {}),
        ({"kid": "' UNION SELECT 'x"}, {}),
        ({"kid": ""}, {}),
        ({}, {"aud": "another"}),
        ({}, {"aud": ["another", 1]}),
        ({}, {"aud": None}),
        ({}, {"iss": "https://evil.test"}),
        ({}, {"nbf": NOW + 3600}),
        ({}, {"iat": NOW + 3600}),
        ({}, {"exp": None}),
        ({}, {"exp": NOW + 10 * 86_400}),
        ({}, {"exp": "9999999999"}),
        ({}, {"exp": True}),
        ({}, {"gen": None}),
        ({}, {"gen": {}}),
        ({}, {"gen": {"client:mes": None}}),
        ({}, {"gen": {"client:mes": 0}}),
        ({}, {"sub": "client:admin"}),
        ({}, {"jti": None}),
        ({}, {"client_id": ["mes"]}),
    ],
)
def test_words_that_do_not_belong_into_a_token_make_it_void(
    gate: Gate, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    assert gate.clock().timestamp() == NOW
    assert refused(gate, forged(gate, header, claims)) == "auth.invalid"


def test_the_forger_can_make_a_good_token_too(gate: Gate) -> None:
    assert gate.bearer(forged(gate)).id == "client:mes"  # so that the refusals above are for their reasons


def test_expired_words(gate: Gate) -> None:
    assert refused(gate, forged(gate, {}, {"exp": NOW - 1})) == "auth.expired"


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "", "HS256", "RS256", "ES384"])
def test_the_algorithm_is_the_keys_and_never_the_tokens(gate: Gate, alg: str) -> None:
    good = gate.token("mes", gate.client())["access_token"]
    _, claims, signature = good.split(".")
    header = part({**opened_part(good, 0), "alg": alg})
    for end in ("", signature):
        assert refused(gate, f"{header}.{claims}.{end}") == "auth.invalid"


def test_the_public_key_is_no_shared_secret(gate: Gate) -> None:
    good = gate.token("mes", gate.client())["access_token"]
    [key] = gate.identity.access.keyring.jwks()["keys"]
    pem = ECKey.import_key(key).as_pem(private=False)
    signed = f"{part({**opened_part(good, 0), 'alg': 'HS256'})}.{good.split('.')[1]}"
    for secret in (pem, json.dumps(key).encode(), b""):
        mark = base64.urlsafe_b64encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest()).rstrip(b"=")
        assert refused(gate, f"{signed}.{mark.decode()}") == "auth.invalid"


def test_another_key_of_the_same_name_signs_nothing(gate: Gate) -> None:
    good = gate.token("mes", gate.client())["access_token"]
    claims = base64.urlsafe_b64decode(good.split(".")[1] + "===")
    header = opened_part(good, 0)
    ec = ECKey.generate_key("P-256")
    assert refused(gate, serialize_compact(header, claims, ec, algorithms=["ES256"])) == "auth.invalid"
    rsa = RSAKey.generate_key(2048)
    assert refused(gate, serialize_compact({**header, "alg": "RS256"}, claims, rsa, algorithms=["RS256"])) == (
        "auth.invalid"
    )


@pytest.mark.parametrize("where", [0, 1])
def test_names_that_come_twice_make_a_token_void(gate: Gate, where: int) -> None:
    good = gate.token("mes", gate.client())["access_token"]
    texts = [json.dumps(opened_part(good, number)) for number in (0, 1)]
    assert gate.bearer(signed(gate, *texts)).id == "client:mes"
    name = ("alg", "sub")[where]
    texts[where] = texts[where][:-1] + f', "{name}": {json.dumps(opened_part(good, where)[name])}}}'
    assert refused(gate, signed(gate, *texts)) == "auth.invalid"


@pytest.mark.parametrize(
    "change", ["a.b", "a.b.c.d", "..", "a", "", " ", "💥.a.b", "a" * 9000, "e30.e30.", "e30.W10.e30"]
)
def test_what_is_no_token_is_refused(gate: Gate, change: str) -> None:
    assert refused(gate, change) == "auth.invalid"


def test_every_changed_character_of_a_token_is_found(gate: Gate) -> None:
    good = gate.token("mes", gate.client())["access_token"]
    gate.bearer(good)
    for at in range(0, len(good), 7):
        changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
        assert refused(gate, changed) == "auth.invalid"


def test_keys_change_by_the_calendar_and_overlap(gate: Gate) -> None:
    secret = gate.client()
    old = gate.token("mes", secret)["access_token"]
    kid = opened_part(old, 0)["kid"]
    gate.clock.pass_(29 * 86_400)  # the next key is published a day before it signs
    token = gate.token("mes", secret)["access_token"]
    assert opened_part(token, 0)["kid"] == kid
    assert len(gate.identity.access.keyring.jwks()["keys"]) == 2
    gate.clock.pass_(86_400 - 1)
    last = gate.token("mes", secret)["access_token"]
    gate.clock.pass_(2)
    assert opened_part(gate.token("mes", secret)["access_token"], 0)["kid"] != kid
    assert gate.bearer(last).id == "client:mes"
    gate.clock.pass_(3700)
    assert [key["kid"] for key in gate.identity.access.keyring.jwks()["keys"]] != [kid]
    assert len(gate.identity.access.keyring.jwks()["keys"]) == 1


def test_a_leaked_key_is_taken_away_at_once(gate: Gate) -> None:
    secret = gate.client()
    old = gate.token("mes", secret)["access_token"]
    gate.identity.access.keyring.rotate(at_once=True)
    assert refused(gate, old) == "auth.invalid"
    assert gate.bearer(gate.token("mes", secret)["access_token"]).known


def test_two_processes_have_the_same_keys(gate: Gate) -> None:
    other = gate.another()
    token = gate.token("mes", gate.client())["access_token"]
    gate.clock.pass_(1)
    assert gate.actor(at=other, headers={"authorization": f"Bearer {token}"}).id == "client:mes"
    assert other.access.keyring.jwks() == gate.identity.access.keyring.jwks()


def test_the_home_holds_no_secret_in_the_open(gate: Gate) -> None:
    secret = gate.client()
    key = gate.identity.identities.clients.issue("mes", "signature").secret
    gate.token("mes", secret)
    private = gate.identity.identities.signing.published()[0].private.splitlines()[1]
    for file in gate.home.path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [one for one in (secret, key, private) if one.encode() in content], file
