"""Logging in: what is a good password, how guessing ends, and the second factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyotp
import pytest
from tests.gateway.auth.conftest import Gate

from tongqu.gateway.auth import login as login_module
from tongqu.gateway.auth.login import Doorkeeper, Login, RefusedLoginError
from tongqu.gateway.auth.passwords import hashed, matches, weakness
from tongqu.gateway.auth.second_factor import enrolled, spent
from tongqu.gateway.problems import Problem
from tongqu.store.identity.users import User

PASSWORD = "correct horse battery staple"
HASH = hashed(PASSWORD)


def person(gate: Gate, name: str = "zhang", **told: Any) -> None:
    gate.identity.identities.users.add(User(name, **{"password": HASH, **told}))


def try_(gate: Gate, name: str = "zhang", password: str = PASSWORD, **told: str) -> str:
    """`in`, or why not."""
    doorkeeper = Doorkeeper(gate.identity.identities, lambda: gate.identity.access.settings)
    try:
        doorkeeper.let_in(Login(name, password, **{"address": "192.0.2.7", **told}))
    except RefusedLoginError as refused:
        return refused.why
    return "in"


@pytest.mark.parametrize(
    "text", ["correct horse battery staple", "南山 竹海 三月 的 雨 落在 瓦上了", "tr0ub4dor&3xkcdQ"]
)
def test_good_passwords(text: str) -> None:
    assert weakness(text, "zhang", "asvs") == ""


@pytest.mark.parametrize(
    "text",
    ["short", "password1234", "P@ssw0rd2024", "admin123456789", "qwertyuiop12", "aaaaaaaaaaaa", "123456789012",
     "zhangzhang2024", "Tongqu2026!!", "1qaz2wsx3edc", "woaini520520", "x" * 257],
)  # fmt: skip
def test_passwords_that_are_guessed_first(text: str) -> None:
    assert weakness(text, "zhang", "asvs")


def test_the_profile_mlps_wants_three_kinds_of_characters() -> None:
    assert weakness("correct horse battery staple", "zhang", "mlps")
    assert weakness("Mountain-97 rain", "zhang", "mlps") == ""


def test_hashes_are_salted_and_match_only_their_password() -> None:
    assert HASH.startswith("$argon2id$") and hashed(PASSWORD) != HASH
    assert matches(HASH, PASSWORD) and not matches(HASH, PASSWORD + "x") and not matches("", "")


def test_a_thousand_wrong_passwords_lock_one_account_and_nobody_else(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(gate)
    person(gate, "li")
    hashes: list[str] = []

    def counted(hash: str, password: str) -> bool:
        hashes.append(password)
        return matches(hash, password)

    monkeypatch.setattr(login_module, "matches", counted)
    for number in range(1000):
        assert try_(gate, password=f"guess {number}") == "wrong"
        gate.clock.pass_(1)
    assert len(hashes) <= 2 * 10  # a locked account costs nothing
    assert try_(gate) == "wrong"  # even the right one
    assert try_(gate, "li") == "in"
    gate.clock.pass_(3 * 3600)
    assert try_(gate) == "in"


def test_an_account_that_does_not_exist_locks_like_one_that_does(gate: Gate) -> None:
    person(gate)
    for name in ("zhang", "nobody"):
        for _ in range(12):
            assert try_(gate, name, "wrong password") == "wrong"
        blocked = gate.identity.identities.users.blocked_until("account", name)
        assert blocked > gate.clock().timestamp()


def test_an_address_that_tries_many_accounts_has_to_wait(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "matches", lambda *told: False)
    person(gate)
    for number in range(60):
        try_(gate, f"user{number}", "Winter 2026")
    assert try_(gate) == "wait"
    monkeypatch.undo()
    assert try_(gate, address="192.0.2.8") == "in"


def test_a_network_of_ipv6_addresses_is_one_address(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "matches", lambda *told: False)
    for number in range(60):
        try_(gate, f"user{number}", "Winter 2026", address=f"2001:db8::{number:x}")
    assert try_(gate, address="2001:db8::ffff") == "wait"
    assert try_(gate, address="2001:db8:0:1::1") == "wrong"


def test_wrong_tries_are_forgotten_after_a_right_one(gate: Gate) -> None:
    person(gate)
    for _ in range(5):
        for _ in range(3):
            assert try_(gate, password="wrong") == "wrong"
        assert try_(gate) == "in"


@pytest.mark.parametrize("told", [{"disabled": True}, {"expires": 1.0}])
def test_who_is_disabled_or_over_is_not_told_so(gate: Gate, told: dict[str, Any]) -> None:
    person(gate, **told)
    assert try_(gate) == "wrong"


def test_a_second_factor_is_good_once(gate: Gate) -> None:
    person(gate)
    users, now = gate.identity.identities.users, gate.clock().timestamp()
    secret, uri = enrolled(users, "zhang")
    assert uri.startswith("otpauth://totp/Tongqu:zhang?secret=")
    code = pyotp.TOTP(secret).at(int(now))
    assert try_(gate) == "in"  # it does not count yet
    assert spent(users, "zhang", code, now)
    users.change("zhang", totp_confirmed=True)
    assert try_(gate) == "code"
    assert try_(gate, code=code) == "code"  # replayed
    gate.clock.pass_(30)
    code = pyotp.TOTP(secret).at(int(gate.clock().timestamp()))
    assert try_(gate, code="000000" if code != "000000" else "111111") == "code"
    assert try_(gate, code=code) == "in"
    assert try_(gate, code=code) == "code"


def test_an_administrator_needs_one(gate: Gate) -> None:
    person(gate, duty="security")
    person(gate, "li", roles=("audit_admin",))  # however the duty was given
    assert (try_(gate), try_(gate, "li")) == ("enrol", "enrol")


def test_a_password_that_somebody_else_chose_is_changed_first(gate: Gate) -> None:
    person(gate, must_change=True)
    assert try_(gate) == "change"
    assert try_(gate, new="short") == "weak"
    assert try_(gate, new=PASSWORD) == "weak"
    assert try_(gate, new="a quiet harbour in march") == "in"
    assert try_(gate, password="a quiet harbour in march") == "in"


def test_with_mlps_a_password_ends_and_does_not_come_back(opened: Callable[..., Gate]) -> None:
    gate = opened(profile="mlps")
    person(gate, password=hashed("Mountain-97 rain"))
    gate.clock.pass_(91 * 86_400)
    assert try_(gate, password="Mountain-97 rain") == "change"
    assert try_(gate, password="Mountain-97 rain", new="Harbour-98 wind") == "in"
    assert try_(gate, password="Harbour-98 wind", new="Mountain-97 rain") == "weak"


def session(gate: Gate, token: str, *, headers: dict[str, str] | None = None, **told: Any) -> str:
    return gate.actor(headers={"cookie": f"a=b; tongqu_session={token}", **(headers or {})}, **told).id


def test_sessions_end_when_idle_when_old_and_when_somebody_says_so(gate: Gate) -> None:
    person(gate)
    users = gate.identity.identities.users
    token = users.begin_session("zhang", "192.0.2.7")
    for _ in range(23):
        gate.clock.pass_(29 * 60)
        assert session(gate, token) == "user:zhang"
    for end in ("idle", "absolute", "logout", "password"):
        token = users.begin_session("zhang", "192.0.2.7")
        if end == "idle":
            gate.clock.pass_(31 * 60)
        elif end == "absolute":
            for _ in range(26):
                gate.clock.pass_(28 * 60)
                users.session(token, idle=1800, absolute=43_200)
        elif end == "logout":
            users.log_out("zhang")
        else:
            users.set_password("zhang", HASH, keep=5)
        with pytest.raises(Problem, match=r"auth\.expired"):
            session(gate, token)


def test_a_session_changes_things_only_from_our_own_pages(gate: Gate) -> None:
    person(gate)
    token = gate.identity.identities.users.begin_session("zhang", "192.0.2.7")
    for headers in ({}, {"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        with pytest.raises(Problem, match=r"auth\.invalid"):
            session(gate, token, method="POST", headers=headers)
    assert session(gate, token, method="POST", headers={"sec-fetch-site": "same-origin"}) == "user:zhang"
    assert session(gate, token, method="POST", headers={"origin": "http://gateway.test"}) == "user:zhang"
