"""Nothing that is shown holds a secret."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tongqu.core.settings import Settings
from tongqu.store.scrub import Scrubber, literal_passwords


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
