"""Nothing that is shown holds a secret."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from pydantic import SecretStr

from tongqu.core.settings import Settings
from tongqu.store.literal import literal_passwords
from tongqu.store.scrub import Scrubber


class Login(Settings):
    """A login."""

    user: str = "u"
    """Who."""
    password: SecretStr = SecretStr("hunter22-long")
    """The password."""


class Nested(Settings):
    """Settings with settings."""

    logins: tuple[Login, ...] = (Login(),)
    """Logins."""


def test_secrets_of_settings_are_found_at_any_depth() -> None:
    scrubber = Scrubber()
    scrubber.add_settings(Nested())
    assert scrubber.text("login with xhunter22-longx failed") == "login with x***x failed"


def test_short_secrets_are_replaced_as_whole_words() -> None:
    scrubber = Scrubber()
    scrubber.add_url("postgresql://app:pg@h/db")
    assert scrubber.text("pg: pgcopy with 'pg'") == "***: pgcopy with '***'"


def test_both_forms_of_an_encoded_password() -> None:
    scrubber = Scrubber()
    scrubber.add_url("mysql://u:p%40ss-word@h/db")
    assert scrubber.text("p%40ss-word p@ss-word") == "*** ***"


def test_passwords_in_urls_that_were_never_seen() -> None:
    text = Scrubber().text("cannot open postgresql://u:pw@h:5432/db and mysql://u:${secret:x}@h/d")
    assert text == "cannot open postgresql://u:***@h:5432/db and mysql://u:${secret:x}@h/d"


def test_a_literal_password_is_told_from_a_reference() -> None:
    assert literal_passwords("postgresql://u:pw@h/db") == ["pw"]
    assert literal_passwords("postgresql://h/db?user=u&password=pw") == ["pw"]
    assert literal_passwords("postgresql://u:${env:PW}@h/db") == []
    assert literal_passwords("postgresql://h/db") == []
    assert literal_passwords("sqlite:x.db") == []


def test_codes_stay_and_texts_are_cleaned() -> None:
    scrubber = Scrubber()
    scrubber.add("connector")
    problem = {"path": "connector", "code": "connector.auth", "message": "bad connector", "hint": ""}
    assert scrubber.problem(problem) == {"path": "***", "code": "connector.auth", "message": "bad ***", "hint": ""}


@pytest.mark.parametrize("password", ["sla/sh-of-it", "ha#sh-of-it", "que?ry", "with space"])
def test_a_password_that_was_not_percent_encoded(password: str) -> None:
    url = f"postgresql://bob:{password}@db.example/erp"
    scrubber = Scrubber()
    scrubber.add_url(url)
    assert password in literal_passwords(url)
    assert scrubber.text(f"cannot reach {url}") == "cannot reach postgresql://bob:***@db.example/erp"


@pytest.mark.parametrize("url", ["postgresql://db.example:5432/erp?options=a@b", "sqlite:a@b.db", "file:x:y@z.csv"])
def test_urls_without_a_password(url: str) -> None:
    assert literal_passwords(url) == []


@pytest.mark.parametrize("user", ["u", "us", "use"])
def test_a_secret_inside_base64_is_found_wherever_it_begins(user: str) -> None:
    scrubber = Scrubber()
    scrubber.add("hunter2/hunter2?ü")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = scrubber.text(f"sent {encode(f'{user}:hunter2/hunter2?ü'.encode()).decode()}")
        assert "***" in shown
        assert b"hunter" not in base64.b64decode(re.sub(r"[^A-Za-z0-9+/]", "A", shown.removeprefix("sent ")) + "==")


def test_a_secret_is_found_as_others_write_it() -> None:
    secret = 'p@ss/w+rd "<密>\\'
    scrubber = Scrubber()
    scrubber.add(secret)
    for form in (quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret), json.dumps(secret),
                 escape(secret), secret.encode().hex(), quote(secret).lower()):  # fmt: skip
        assert scrubber.text(f"<<{form}>>").strip("<>\"'") == "***", form


def test_the_lines_of_a_private_key_are_secrets_themselves() -> None:
    scrubber = Scrubber()
    scrubber.add("-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0\nshort\n")
    assert scrubber.text("cannot parse MIIEvQIBADANBgkqhkiG9w0 in a short file") == "cannot parse *** in a short file"


def test_what_an_authorization_header_says_is_hidden_even_if_it_was_never_seen() -> None:
    text = Scrubber().text(
        "{'Authorization': 'Bearer eyJhbGciOiJub25lIn0.e30.'} Basic dXNlcjpodW50ZXIyMg== Bearer token"
    )
    assert text == "{'Authorization': 'Bearer ***'} Basic *** Bearer token"


def test_everything_inside_a_value_is_cleaned() -> None:
    scrubber = Scrubber()
    scrubber.add("hunter22")
    assert scrubber.deep({"a": ["x hunter22", 7], "b": {"c": "hunter22"}}) == {"a": ["x ***", 7], "b": {"c": "***"}}


def test_tokens_in_addresses_that_a_system_repeats_are_hidden_though_nobody_knows_them() -> None:
    text = Scrubber().text("the system says: /user?access_token=a1b2c3d4e5&id=7&sign=0123456789abcdef and sign=up")
    assert text == "the system says: /user?access_token=***&id=7&sign=*** and sign=up"


@pytest.mark.parametrize(
    "url",
    [
        "sftp://h/x.csv?pgp_password=geheim-7&marker=m",
        "sftp://h/x.csv?a=b&key_password=geheim-7",
        "s3://bucket/x?session_token=geheim-7",
        "https://h/x.csv#pgp_password=geheim-7",
        "https://h/x#auth.basic.password=geheim-7",
        "sftp://h/x.csv?key=-----BEGIN%20geheim-7",
    ],
)
def test_every_secret_that_a_url_may_hold_is_found(url: str) -> None:
    assert "geheim" not in Scrubber().text(url)
    assert any("geheim-7" in one for one in literal_passwords(url))
