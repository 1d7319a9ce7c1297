"""Codes in the body of an answer are the errors that statuses are elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.core.errors import (
    AuthError,
    CallRefusedError,
    ConnectorError,
    NotFoundError,
    PeerFailedError,
    PrivilegeError,
    RateLimitedError,
    UnknownOutcomeError,
)
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.outcome import judged
from tongqu.kit.http.settings import HttpSettings, Outcome
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.swift_clock import SwiftClock

RULES = Outcome(
    code="errcode", ok=(0,), auth=(40014,), denied=(60011,), limited=(45009,), again=(-1,), missing=(60003,)
)
MUCH = [{"errcode": 40014, "text": "x" * 1000} for _ in range(400)]


def said(body: Any, rules: Outcome = RULES) -> ConnectorError | None:
    return judged(rules, json.dumps(body).encode(), "GET https://host/path")


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        (40014, AuthError, 401), ("40014", AuthError, 401), (60011, PrivilegeError, 403),
        (45009, RateLimitedError, 429),
        (-1, PeerFailedError, 503), (60003, NotFoundError, 404), (12345, CallRefusedError, 400),
    ],
)  # fmt: skip
def test_each_kind_of_code(code: Any, kind: type[ConnectorError], status: int) -> None:
    found = said({"errcode": code, "errmsg": "sorry"})
    assert found is not None
    assert (type(found), found.status, found.hint) == (kind, status, "the system says: sorry")
    assert f"code {code}" in found.message


@pytest.mark.parametrize("body", [{"errcode": 0}, {"errcode": "0"}, {"data": []}, [{"errcode": 40014}], "text", None])
def test_success_and_answers_without_a_code_are_no_error(body: Any) -> None:
    assert said(body) is None


def test_a_code_may_stand_deeper_and_be_a_word() -> None:
    rules = Outcome(code="status.success", ok=(True,), message="status.text", auth=("expired",))
    assert said({"status": {"success": True}}, rules) is None
    assert isinstance(said({"status": {"success": False, "text": "no"}}, rules), CallRefusedError)


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ({"errcode": 0, "list": MUCH}, False), ({"errcode": -1, "errmsg": "busy", "list": MUCH}, True),
        ({"list": MUCH, "errcode": -1}, True), ({"list": MUCH, "errmsg": "ok", "errcode": 0}, False),
        ({"list": MUCH}, False), ({"data": {"list": MUCH, "errcode": -1}}, False),
    ],
)  # fmt: skip
def test_of_a_large_answer_only_its_own_code_counts_and_none_of_its_records(body: Any, failed: bool) -> None:
    assert (said(body) is not None) == failed


class Told(HttpPeer):
    """Answers `/x` with one code after the other, the last one again and again."""

    def __init__(self, *codes: int):
        self.codes = list(codes)
        super().__init__({"/x": self.answer})

    def answer(self, asked: Asked, out: Out) -> None:
        del asked
        out.json({"errcode": self.codes.pop(0) if len(self.codes) > 1 else self.codes[0], "errmsg": "m"})

    def send(self, method: str) -> bytes:
        client = Http(HttpSettings.parse({"base_url": self.url, "outcome": RULES.model_dump()}), clock=SwiftClock())
        try:
            return client.send(Call(method, client.url("/x"))).content
        finally:
            client.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_that_was_one_too_many_is_made_again(method: str) -> None:
    with Told(45009, 45009, 0) as peer:
        assert json.loads(peer.send(method))["errcode"] == 0
        assert len(peer.calls) == 3


def test_a_system_that_is_busy_is_asked_again_and_a_change_is_not_repeated() -> None:
    with Told(-1, 0) as peer:
        assert json.loads(peer.send("GET"))["errcode"] == 0
    with Told(-1, 0) as peer:
        with pytest.raises(UnknownOutcomeError):
            peer.send("POST")
        assert len(peer.calls) == 1


def test_a_change_that_was_refused_had_no_effect() -> None:
    with Told(12345) as peer, pytest.raises(CallRefusedError):
        peer.send("POST")
