"""API keys, signed requests and certificates become actors; each is believed once where it must be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.auth.conftest import Gate, request

from tongqu.gateway.auth.identify import thumbprint
from tongqu.gateway.auth.signatures import EMPTY, OLD, Signed
from tongqu.gateway.exchange import Request
from tongqu.gateway.problems import Problem


def test_an_api_key_stands_for_its_client(gate: Gate) -> None:
    gate.client()
    issued = gate.identity.identities.clients.issue("mes", "api_key")
    assert gate.actor(headers={"x-api-key": issued.secret}).id == "client:mes"
    assert gate.bearer(issued.secret).id == "client:mes"
    gate.identity.identities.clients.end(issued.id)
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.actor(headers={"x-api-key": issued.secret})


def test_a_key_is_of_its_kind(gate: Gate) -> None:
    secret = gate.client()
    for headers in ({"x-api-key": secret}, {"authorization": f"Bearer {secret}"}, {"authorization": "Basic bWVzOng="}):
        with pytest.raises(Problem, match=r"auth\.invalid"):
            gate.actor(headers=headers)


def test_two_kinds_of_credentials_are_one_too_many(gate: Gate) -> None:
    with pytest.raises(Problem, match=r"auth\.ambiguous"):
        gate.actor(headers={"x-api-key": "a", "authorization": "Bearer b"})


def test_a_certificate_stands_for_its_client(gate: Gate) -> None:
    gate.client()
    ends = gate.clock().timestamp() + 100
    gate.identity.identities.clients.register_certificate("mes", thumbprint(b"der"), ends)
    assert gate.actor(certificate=b"der").id == "client:mes"
    assert gate.actor(certificate=b"unknown").kind == "anonymous"
    gate.clock.pass_(100)
    assert gate.actor(certificate=b"der").kind == "anonymous"


def signed_headers(
    gate: Gate, id: str, secret: str, nonce: str, *, body: bytes = b"", **changed: Any
) -> dict[str, str]:
    at = str(int(gate.clock().timestamp() + changed.pop("late", 0)))
    digest = hashlib.sha256(body).hexdigest() if body else EMPTY
    told: dict[str, Any] = {"method": "GET", "host": "gateway.test", "path": "/api/v1/质量 data",
                            "pairs": [("b", "2 3"), ("a", "é")], **changed}  # fmt: skip
    made = Signed(**told, digest=digest, timestamp=at, nonce=nonce)
    return {"authorization": made.header(id, secret.encode()), **({"tongqu-content-sha256": digest} if body else {})}


def test_a_signed_request_is_good_once(gate: Gate) -> None:
    gate.client()
    key = gate.identity.identities.clients.issue("mes", "signature")
    there: dict[str, Any] = {"path": "/api/v1/质量 data", "query": "b=2+3&a=%C3%A9"}
    headers = signed_headers(gate, key.id, key.secret, "nonce-001")
    assert gate.actor(headers=headers, **there).id == "client:mes"
    for again in (gate.identity, gate.another()):
        with pytest.raises(Problem, match=r"auth\.invalid"):
            gate.actor(at=again, headers=headers, **there)
    assert gate.actor(headers=signed_headers(gate, key.id, key.secret, "nonce-002"), **there).known


@pytest.mark.parametrize(
    "changed",
    [{"method": "POST"}, {"host": "evil.test"}, {"path": "/api/v1/other"}, {"pairs": [("a", "é")]}, {"late": 301},
     {"late": -301}],
)  # fmt: skip
def test_what_was_signed_is_what_is_asked(gate: Gate, changed: dict[str, Any]) -> None:
    gate.client()
    key = gate.identity.identities.clients.issue("mes", "signature")
    headers = signed_headers(gate, key.id, key.secret, "nonce-001", **changed)
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.actor(headers=headers, path="/api/v1/质量 data", query="b=2+3&a=%C3%A9")


@pytest.mark.parametrize("name", ["if-match", "idempotency-key", "prefer", "tongqu-purpose", "content-type"])
def test_headers_that_decide_what_is_done_are_signed(gate: Gate, name: str) -> None:
    gate.client(purposes=("audit", "care"))
    key = gate.identity.identities.clients.issue("mes", "signature")
    there: dict[str, Any] = {"path": "/api/v1/质量 data", "query": "b=2+3&a=%C3%A9"}
    value = "care" if name == "tongqu-purpose" else '"a1"'
    headers = signed_headers(gate, key.id, key.secret, "nonce-001", headers={name: value})
    assert gate.actor(headers={**headers, name: value}, **there).known
    for changed in ({}, {name: "audit"}):
        headers = signed_headers(gate, key.id, key.secret, f"nonce-2{len(changed)}..", headers={name: value})
        with pytest.raises(Problem, match=r"auth\.invalid"):
            gate.actor(headers={**headers, **changed}, **there)


def test_the_scheme_without_headers_is_taken_where_the_settings_say_so(
    opened: Callable[..., Gate], caplog: pytest.LogCaptureFixture
) -> None:
    for accepted in (False, True):
        gate = opened(old_signatures=accepted)
        gate.client()
        key = gate.identity.identities.clients.issue("mes", "signature")
        there: dict[str, Any] = {"path": "/api/v1/质量 data", "query": "b=2+3&a=%C3%A9"}
        for nonce in ("nonce-001", "nonce-002"):
            headers = signed_headers(gate, key.id, key.secret, nonce, scheme=OLD)
            if accepted:
                assert gate.actor(headers={**headers, "prefer": "count=exact"}, **there).id == "client:mes"
            else:
                with pytest.raises(Problem, match=r"auth\.invalid"):
                    gate.actor(headers=headers, **there)
    assert [
        one.message for one in caplog.records if "mes" in one.message and "signs without headers" in one.message
    ] == ["the client mes signs without headers (TONGQU-HMAC-SHA256): let it sign by the newer scheme"]


@pytest.mark.parametrize(
    "header",
    ["", " Credential=a", " Credential=a, Credential=b, Nonce=c, Signature=d",
     " Credential=tqa_x, Timestamp=1795334400, Nonce=12345678, Signature=é"],
)  # fmt: skip
def test_signatures_of_another_form(gate: Gate, header: str) -> None:
    with pytest.raises(Problem, match=r"auth\.invalid"):
        gate.actor(headers={"authorization": f"TONGQU2-HMAC-SHA256{header or ' '}"})


async def read(asked: Request) -> bytes:
    return await asked.body(100)


def test_a_signed_body_is_the_body(gate: Gate) -> None:
    gate.client()
    key = gate.identity.identities.clients.issue("mes", "signature")
    told: dict[str, Any] = {"method": "POST", "path": "/api/v1/x", "pairs": []}
    for number, (sent, good) in enumerate([(b"rows", True), (b"other rows", False)]):
        headers = signed_headers(gate, key.id, key.secret, f"nonce-00{number}", body=b"rows", **told)
        asked = request("POST", "/api/v1/x", body=sent, headers=headers)
        assert asyncio.run(gate.identity.identify.actor(asked)).known
        if good:
            assert asyncio.run(read(asked)) == sent
            continue
        with pytest.raises(Problem, match=r"auth\.invalid"):
            asyncio.run(read(asked))


def test_use_is_written_down_once_a_minute(gate: Gate) -> None:
    gate.client()
    key = gate.identity.identities.clients.issue("mes", "api_key").secret
    began = gate.clock().timestamp()
    gate.actor(headers={"x-api-key": key})
    gate.clock.pass_(30)
    gate.actor(headers={"x-api-key": key})
    assert gate.identity.identities.clients.known("mes").used == began
    gate.clock.pass_(31)
    gate.actor(headers={"x-api-key": key})
    assert gate.identity.identities.clients.known("mes").used == began + 61
