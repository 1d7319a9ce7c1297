"""People log in to `/manage` by password and second factor, and their pages must prove that they ask."""

from __future__ import annotations

from typing import Any

import pyotp
from tests.app.http.conftest import PASSWORD, Place

from tongqu.app.services.people import People
from tongqu.testing.services.gateway import Answered


def log_in(place: Place, **told: Any) -> Answered:
    return place.ask("", "/session", "POST", {"name": "chen", "password": PASSWORD, **told})


def test_a_session_of_an_administrator(place: Place) -> None:
    refused = log_in(place)
    assert (refused.status, refused.json["code"]) == (403, "auth.enrol")
    assert log_in(place, password="guess").json["code"] == "auth.invalid"
    totp = pyotp.TOTP(People(place.callers).totp("chen", "")["secret"])
    with place.callers.opened() as identities:
        identities.users.change("chen", totp_confirmed=True)
        identities.users.forgive("account", "chen")
    assert log_in(place).json["code"] == "auth.code"
    entered = log_in(place, code=totp.now())
    assert (entered.status, entered.json["rights"]) == (201, ["known", "look", "policy", "security"])
    cookie, *flags = entered.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
    here = {"cookie": cookie, "sec_fetch_site": "same-origin"}
    assert place.ask("", "/session", **here).json["csrf"] == entered.json["csrf"]
    assert place.ask("", "/clients", **here).status == 200
    forged = place.ask("", "/clients", "POST", {"name": "a"}, **here)
    assert (forged.status, forged.json["code"]) == (403, "auth.csrf")
    other = place.ask("", "/clients", "POST", {"name": "a"}, cookie=cookie, sec_fetch_site="cross-site",
                      x_csrf_token=entered.json["csrf"])  # fmt: skip
    assert other.status == 401
    token = {"x_csrf_token": entered.json["csrf"]}
    assert place.ask("", "/clients", "POST", {"name": "a"}, **here, **token).status == 201
    assert place.ask("", "/audit", **here).status == 403
    assert place.ask("", "/session", "DELETE", **here, **token).status == 204
    assert place.ask("", "/clients", **here).status == 401


def test_nobody_logs_in_from_another_page(place: Place) -> None:
    answer = place.ask("", "/session", "POST", {"name": "chen", "password": PASSWORD}, origin="https://evil.example")
    assert (answer.status, answer.json["code"]) == (401, "auth.invalid")
    assert place.ask("", "/session").status == 401
    assert place.ask("quality", "/session").json["rights"] == []
