"""The store of identities: one root key, seals that outlive a change of keys, and what is good once even in a race."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.services.secrets import Keeping
from tongqu.core.errors import InvalidPlanError, SecretError, UnknownNameError
from tongqu.store.home import Home
from tongqu.store.identity.clients import Client
from tongqu.store.identity.identities import Identities
from tongqu.store.identity.reviews import DAY, Ending
from tongqu.store.identity.seal import Seal
from tongqu.store.identity.users import User
from tongqu.store.scrub import Scrubber


@pytest.fixture
def identities(tmp_path: Path) -> Iterator[Identities]:
    made = Identities.open(Home(tmp_path / "home"), Scrubber())
    yield made
    made.close()


def test_first_starts_at_the_same_time_make_one_root(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with ThreadPoolExecutor(6) as pool:
        seals = list(pool.map(lambda _: Seal.of(home, Scrubber()), range(6)))
    assert len({seal.digest("x") for seal in seals}) == 1


def test_what_was_sealed_opens_after_the_keys_of_the_home_changed(tmp_path: Path) -> None:
    home, scrubber = Home(tmp_path / "home"), Scrubber()
    first = Identities.open(home, scrubber)
    first.clients.add(Client("mes"))
    old = first.clients.issue("mes", "signature")
    first.close()
    Keeping(home, scrubber).rotate("both", "gm")
    second = Identities.open(home, scrubber)
    new = second.clients.issue("mes", "signature", overlap=60)
    for issued in (old, new):
        found = second.clients.signer(issued.id)
        assert found is not None and found[2].decode() == issued.secret
    assert second.database.row("SELECT algorithm FROM credentials WHERE id = ?", new.id)[0] == "sm4-gcm"  # type: ignore[index]  # it is there
    second.close()


def test_a_sealed_key_that_was_moved_to_another_row_does_not_open(identities: Identities) -> None:
    identities.clients.add(Client("mes"))
    one = identities.clients.issue("mes", "signature")
    identities.clients.add(Client("evil"))
    other = identities.clients.issue("evil", "signature")
    with identities.database.writing() as done:
        done.execute(
            "UPDATE credentials SET (algorithm, key, nonce, ciphertext, tag) = (SELECT algorithm, key, nonce,"
            " ciphertext, tag FROM credentials WHERE id = ?) WHERE id = ?",
            (one.id, other.id),
        )
    with pytest.raises(SecretError):
        identities.clients.signer(other.id)


@pytest.mark.parametrize("what", ["code", "refresh", "nonce", "totp"])
def test_what_is_good_once_is_taken_by_one_of_many(identities: Identities, what: str) -> None:
    tokens, users = identities.tokens, identities.users
    users.add(User("zhang", password="x"))
    code = tokens.add_code({"client": "app"}, 60)
    tokens.begin_family("f1", "app", "zhang", 60)
    refresh = tokens.add_refresh("f1", {}, 60)
    ways: dict[str, Callable[[], Any]] = {
        "code": lambda: tokens.spend_code(code) is not None,
        "refresh": lambda: tokens.spend_refresh(refresh, "app") is not None,
        "nonce": lambda: tokens.first_sight("nonce", "n1", 9e9),
        "totp": lambda: users.spend_totp("zhang", 5),
    }
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: ways[what](), range(8)))
    assert sum(taken) == 1


def test_names_that_are_taken_or_cannot_be(identities: Identities) -> None:
    identities.clients.add(Client("mes"))
    for name in ("mes", "", "a b", "../x", "x" * 65):
        with pytest.raises(InvalidPlanError):
            identities.clients.add(Client(name))
    with pytest.raises(InvalidPlanError):
        identities.clients.add(Client("other", grants=("password",)))
    with pytest.raises(UnknownNameError):
        identities.clients.issue("nobody", "secret")
    assert identities.users.list() == []  # there is no account that nobody made


def test_everybody_is_warned_once_at_each_threshold(tmp_path: Path) -> None:
    at = [datetime(2026, 1, 1, tzinfo=UTC)]
    identities = Identities.open(Home(tmp_path / "home"), Scrubber(), clock=lambda: at[0])
    ending = Ending("client:mes", "tqs_1", at[0].timestamp() + 40 * DAY)
    told = []
    for day in range(45):
        told += [(day, one.days(at[0].timestamp())) for one in identities.reviews.newly_due([ending])]
        at[0] += timedelta(days=1)
    assert told == [(10, 30), (33, 7), (39, 1), (40, 0)]
    identities.close()
