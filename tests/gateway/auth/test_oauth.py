"""The authorization server: people log in with PKCE, tokens are refreshed, exchanged, introspected and revoked."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import serialize_compact
from tests.gateway.auth.conftest import Gate

from tongqu.gateway.auth.identify import thumbprint
from tongqu.gateway.auth.passwords import hashed
from tongqu.gateway.exchange import Reply
from tongqu.gateway.problems import Problem
from tongqu.store.identity.users import User

BACK = "https://app.test/back"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PASSWORD = "correct horse battery staple"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ASKED = {
    "response_type": "code",
    "client_id": "app",
    "redirect_uri": BACK,
    "state": "s1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
def people(gate: Gate) -> Gate:
    """A gate with a person and an application."""
    gate.identity.identities.users.add(
        User("zhang", roles=("quality",), attributes={"plant": 3}, password=hashed(PASSWORD))
    )
    gate.client("app", roles=(), public=True, redirects=(BACK,), grants=("authorization_code", "refresh_token"))
    return gate


def text(reply: Reply) -> str:
    assert isinstance(reply.body, bytes)
    return reply.body.decode()


def page(gate: Gate, **changed: str) -> tuple[Reply, dict[str, str], str]:
    """The login page, its hidden fields and the cookie it sets."""
    reply = gate.call("GET", "/oauth/authorize", query=urlencode({**ASKED, **changed}))
    fields = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', text(reply))
    cookie = reply.header("set-cookie").partition(";")[0]
    return reply, {name: html.unescape(value) for name, value in fields}, cookie


def log_in(gate: Gate, fields: dict[str, str], cookie: str, **told: str) -> Reply:
    answer = {**fields, "username": "zhang", "password": PASSWORD, "answer": "yes", **told}
    return gate.call("POST", "/oauth/authorize", answer, headers={"cookie": cookie})


def answered(reply: Reply) -> dict[str, str]:
    assert reply.status == 303
    assert reply.header("location").startswith(BACK)
    return dict(parse_qsl(urlsplit(reply.header("location")).query))


def code(gate: Gate, **changed: str) -> str:
    _, fields, cookie = page(gate, **changed)
    return answered(log_in(gate, fields, cookie))["code"]


def spend(gate: Gate, code: str, **changed: str) -> Any:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": "app",
            "code_verifier": VERIFIER, **changed}  # fmt: skip
    return gate.post("/oauth/token", form)


def refresh(gate: Gate, token: str, client: str = "app") -> Any:
    return gate.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": token, "client_id": client})


def test_a_person_logs_in_and_the_application_calls_in_their_name(people: Gate) -> None:
    reply, fields, cookie = page(people)
    assert "frame-ancestors 'none'" in reply.header("content-security-policy")
    assert "HttpOnly" in reply.header("set-cookie")
    told = answered(log_in(people, fields, cookie))
    assert (told["state"], told["iss"]) == ("s1", "http://gateway.test")
    given = spend(people, told["code"])
    actor = people.bearer(given["access_token"])
    assert (actor.id, actor.kind, actor.roles) == ("user:zhang", "user", frozenset({"quality"}))
    assert (actor.attributes["plant"], actor.attributes["client"]) == (3, "app")


def test_a_code_is_good_once_and_its_second_use_takes_the_tokens_back(people: Gate) -> None:
    one = code(people)
    given = spend(people, one)
    people.bearer(given["access_token"])
    assert spend(people, one)["error"] == "invalid_grant"
    with pytest.raises(Problem, match=r"auth\.invalid"):
        people.bearer(given["access_token"])
    assert refresh(people, given["refresh_token"])["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": "w" * 50}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": BACK + "/"}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_grant"),
    ],
)
def test_a_stolen_code_is_of_no_use(people: Gate, changed: dict[str, str], error: str) -> None:
    people.client("other", public=True, redirects=(BACK,), grants=("authorization_code",))
    assert spend(people, code(people), **changed)["error"] == error


def test_a_code_ends_after_a_minute(people: Gate) -> None:
    one = code(people)
    people.clock.pass_(61)
    assert spend(people, one)["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "changed",
    [{"redirect_uri": "https://evil.test/"}, {"redirect_uri": BACK + "?x=1"}, {"redirect_uri": ""},
     {"redirect_uri": "https://app.test.evil.test/back"}, {"client_id": "nobody"}],
)  # fmt: skip
def test_nobody_is_sent_to_an_address_that_is_not_registered(people: Gate, changed: dict[str, str]) -> None:
    reply, _, _ = page(people, **changed)
    assert (reply.status, reply.header("location")) == (400, "")


@pytest.mark.parametrize(
    ("changed", "error"),
    [({"code_challenge": ""}, "invalid_request"), ({"code_challenge_method": "plain"}, "invalid_request"),
     ({"response_type": "token"}, "unsupported_response_type")],
)  # fmt: skip
def test_pkce_is_needed(people: Gate, changed: dict[str, str], error: str) -> None:
    assert answered(page(people, **changed)[0])["error"] == error


def test_a_form_of_another_browser_or_of_yesterday_logs_nobody_in(people: Gate) -> None:
    _, fields, cookie = page(people)
    assert log_in(people, fields, "tongqu_login=somebody-elses-browser").status == 400
    assert log_in(people, {**fields, "state": "another"}, cookie).status == 400
    people.clock.pass_(601)
    assert log_in(people, fields, cookie).status == 400


def test_a_person_may_refuse(people: Gate) -> None:
    _, fields, cookie = page(people)
    assert answered(log_in(people, fields, cookie, answer="no"))["error"] == "access_denied"


def test_who_is_logged_in_only_agrees(people: Gate) -> None:
    _, fields, cookie = page(people)
    session = log_in(people, fields, cookie).header("set-cookie").partition(";")[0]
    both = f"{cookie}; {session}"
    reply = people.call("GET", "/oauth/authorize", query=urlencode(ASKED), headers={"cookie": both})
    assert 'name="password"' not in text(reply)
    done = people.call("POST", "/oauth/authorize", {**fields, "answer": "yes"}, headers={"cookie": both})
    assert spend(people, answered(done)["code"])["status"] == 200


def test_the_page_shows_what_it_is_told_as_text(people: Gate) -> None:
    _, fields, cookie = page(people)
    reply = log_in(people, fields, cookie, username='"><script>alert(1)</script>', password="x")
    assert reply.status == 401
    assert "<script" not in text(reply)


def test_refresh_tokens_are_good_once_and_a_stolen_one_ends_the_family(people: Gate) -> None:
    given = spend(people, code(people))
    second = refresh(people, given["refresh_token"])
    assert people.bearer(second["access_token"]).id == "user:zhang"
    assert refresh(people, given["refresh_token"])["error"] == "invalid_grant"  # the thief, or the one who was robbed
    assert refresh(people, second["refresh_token"])["error"] == "invalid_grant"
    with pytest.raises(Problem, match=r"auth\.invalid"):
        people.bearer(second["access_token"])


def test_another_client_cannot_use_or_end_a_refresh_token(people: Gate) -> None:
    people.client("other", public=True, redirects=(BACK,), grants=("authorization_code", "refresh_token"))
    given = spend(people, code(people))
    assert refresh(people, given["refresh_token"], "other")["error"] == "invalid_grant"
    people.post("/oauth/revoke", {"token": given["refresh_token"], "client_id": "other"})
    assert refresh(people, given["refresh_token"])["status"] == 200


def test_refreshing_ends_with_the_family_and_with_the_person(people: Gate) -> None:
    given = spend(people, code(people))
    people.clock.pass_(29 * 86_400)
    given = refresh(people, given["refresh_token"])
    people.clock.pass_(86_400 + 1)
    assert refresh(people, given["refresh_token"])["error"] == "invalid_grant"
    given = spend(people, code(people))
    people.identity.identities.users.log_out("zhang")
    assert refresh(people, given["refresh_token"])["error"] == "invalid_grant"
    with pytest.raises(Problem, match=r"auth\.invalid"):
        people.bearer(given["access_token"])


def test_introspection_tells_what_is_good_and_nothing_else(people: Gate) -> None:
    secret = people.client("checker")
    given = spend(people, code(people))
    told = people.post("/oauth/introspect", {"token": given["access_token"]}, basic=("checker", secret))
    assert (told["active"], told["sub"], told["client_id"]) == (True, "user:zhang", "app")
    people.post("/oauth/revoke", {"token": given["refresh_token"], "client_id": "app"})
    for token in (given["access_token"], given["refresh_token"], "rubbish"):
        told = people.post("/oauth/introspect", {"token": token}, basic=("checker", secret))
        assert told == {"status": 200, "active": False}
    assert people.post("/oauth/introspect", {"token": "x", "client_id": "app"})["error"] == "invalid_client"


def exchange(gate: Gate, secret: str, token: str, **form: Any) -> Any:
    certificate = form.pop("certificate", None)
    told = {"grant_type": EXCHANGE, "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token", **form}  # fmt: skip
    return gate.post("/oauth/token", told, basic=("bi", secret), certificate=certificate)


def test_an_exchanged_token_is_the_persons_and_says_who_acts(people: Gate) -> None:
    secret = people.client("bi", roles=("everything",), grants=("token-exchange",))
    given = spend(people, code(people, scope="inspections:read"))
    told = exchange(people, secret, given["access_token"])
    actor = people.bearer(told["access_token"])
    assert (actor.id, actor.subject, actor.roles) == ("user:zhang", "user:zhang", frozenset({"quality"}))
    assert actor.attributes["act"] == ("client:bi", "client:app")
    assert actor.scopes == {"inspections:read"}
    assert exchange(people, secret, given["access_token"], scope="all")["error"] == "invalid_scope"
    people.identity.identities.clients.change("bi", disabled=True)  # everybody in the chain can be cut off
    with pytest.raises(Problem, match=r"auth\.invalid"):
        people.bearer(told["access_token"])


def test_an_exchanged_token_ends_with_the_first_one(people: Gate) -> None:
    secret = people.client("bi", grants=("token-exchange",))
    given = spend(people, code(people))
    people.clock.pass_(500)
    told = exchange(people, secret, given["access_token"])
    assert told["expires_in"] == 100
    people.post("/oauth/revoke", {"token": given["refresh_token"], "client_id": "app"})
    with pytest.raises(Problem, match=r"auth\.invalid"):
        people.bearer(told["access_token"])


def test_an_exchange_keeps_the_binding_to_a_certificate(gate: Gate) -> None:
    bi, mes = gate.client("bi", grants=("token-exchange",)), gate.client("mes")
    form = {"grant_type": "client_credentials"}
    token = gate.post("/oauth/token", form, basic=("mes", mes), certificate=b"mes's own")["access_token"]
    assert exchange(gate, bi, token)["error"] == "invalid_request"
    assert exchange(gate, bi, token, certificate=b"another")["error"] == "invalid_request"
    told = exchange(gate, bi, token, certificate=b"mes's own")
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.bearer(told["access_token"])
    assert gate.bearer(told["access_token"], certificate=b"mes's own").id == "client:mes"


def test_an_exchange_must_be_granted(gate: Gate) -> None:
    token = gate.token("mes", gate.client("mes"))["access_token"]
    assert exchange(gate, gate.client("bi"), token)["error"] == "unauthorized_client"


def test_tokens_of_a_certificate_are_bound_to_it(gate: Gate) -> None:
    gate.client("plc")
    certificate = b"a certificate in DER"
    gate.identity.identities.clients.register_certificate("plc", thumbprint(certificate), None)
    form = {"grant_type": "client_credentials", "client_id": "plc"}
    assert gate.post("/oauth/token", form)["error"] == "invalid_client"
    assert gate.post("/oauth/token", form, certificate=b"another")["error"] == "invalid_client"
    token = gate.post("/oauth/token", form, certificate=certificate)["access_token"]
    assert gate.bearer(token, certificate=certificate).id == "client:plc"
    for shown in (None, b"another"):
        with pytest.raises(Problem, match=r"auth\.invalid"):
            gate.bearer(token, certificate=shown)


def assertion(gate: Gate, key: Any, alg: str = "ES256", **changed: Any) -> dict[str, str]:
    now = int(gate.clock().timestamp())
    claims = {"iss": "jwt", "sub": "jwt", "aud": "https://gateway.example/oauth/token", "jti": "jti-0001",
              "iat": now, "exp": now + 60, **changed}  # fmt: skip
    told = serialize_compact({"alg": alg, "kid": "k1"}, json.dumps(claims).encode(), key, algorithms=[alg])
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return {"grant_type": "client_credentials", "client_assertion_type": kind, "client_assertion": told}


@pytest.mark.parametrize(("make", "alg"), [(lambda: ECKey.generate_key("P-256"), "ES256"),
                                           (lambda: RSAKey.generate_key(2048), "PS256")])  # fmt: skip
def test_a_client_signs_instead_of_having_a_secret(
    opened: Callable[..., Gate], make: Callable[[], Any], alg: str
) -> None:
    gate, key = opened(issuer="https://gateway.example"), make()
    gate.client("jwt", jwks=({**key.as_dict(private=False), "kid": "k1"},))
    told = assertion(gate, key, alg)
    assert gate.bearer(gate.post("/oauth/token", told)["access_token"]).id == "client:jwt"
    assert gate.post("/oauth/token", told)["error"] == "invalid_client"  # an assertion is good once
    wrong: list[dict[str, Any]] = [
        {"aud": "https://other.example"}, {"exp": NOW}, {"exp": NOW + 86_400}, {"iss": "mes"}, {"sub": "mes"},
        {"jti": None}, {"nbf": NOW + 3600},
    ]  # fmt: skip
    for number, changed in enumerate(wrong):
        told = assertion(gate, key, alg, **{"jti": f"jti-1{number:03}", **changed})
        assert gate.post("/oauth/token", told)["error"] == "invalid_client", changed
    other = assertion(gate, make(), alg, jti="jti-2000")
    assert gate.post("/oauth/token", other)["error"] == "invalid_client"


NOW = 1_795_334_400


def test_a_client_proves_itself_in_one_way(gate: Gate) -> None:
    secret = gate.client()
    form = {"grant_type": "client_credentials", "client_id": "mes", "client_secret": secret}
    assert gate.post("/oauth/token", form)["status"] == 200
    assert gate.post("/oauth/token", form, basic=("mes", secret))["error"] == "invalid_request"
    assert gate.post("/oauth/token", {**form, "client_id": "other"})["error"] == "invalid_client"
    assert gate.post("/oauth/token", {**form, "grant_type": "password"})["error"] == "unsupported_grant_type"


def test_two_secrets_live_side_by_side_while_one_is_rotated(gate: Gate) -> None:
    old = gate.client()
    gate.clock.pass_(1)
    new = gate.identity.identities.clients.issue("mes", "secret", overlap=3600).secret
    assert {gate.token("mes", one)["status"] for one in (old, new)} == {200}
    gate.clock.pass_(1)
    third = gate.identity.identities.clients.issue("mes", "secret", overlap=3600).secret
    assert [gate.token("mes", one)["status"] for one in (old, new, third)] == [401, 200, 200]
    gate.clock.pass_(3600)
    assert [gate.token("mes", one)["status"] for one in (old, new, third)] == [401, 401, 200]


def test_the_documents_say_where_everything_is(gate: Gate) -> None:
    reply = gate.call("GET", "/.well-known/oauth-authorization-server")
    told = json.loads(text(reply))
    assert told["issuer"] == "http://gateway.test"
    assert told["token_endpoint"] == "http://gateway.test/oauth/token"
    [key] = json.loads(text(gate.call("GET", "/.well-known/jwks.json")))["keys"]
    assert (key["kty"], key["alg"], key["use"]) == ("EC", "ES256", "sig")
    assert "d" not in key
    with pytest.raises(Problem, match=r"method\.refused"):
        gate.call("GET", "/oauth/token")
    with pytest.raises(Problem, match=r"api\.unknown"):
        gate.call("GET", "/oauth/else")


def test_answers_with_tokens_are_kept_by_nobody(gate: Gate) -> None:
    secret = gate.client()
    form = {"grant_type": "client_credentials", "client_id": "mes", "client_secret": secret}
    assert gate.call("POST", "/oauth/token", form).header("cache-control") == "no-store"
