"""Secrets are kept sealed, read by name, and what was moved, damaged or orphaned is told and never guessed."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tongqu.core.errors import SecretError
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.envelope import SM4, Key
from tongqu.store.secrets.keys import Keys
from tongqu.store.secrets.sealed import LARGEST, Secrets, look_up

VALUE = "hunter2-hunter2 ü\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def keys(home: Home) -> Keys:
    return Keys(home, Scrubber(), {})


@pytest.fixture
def store(home: Home, keys: Keys) -> Iterator[Secrets]:
    made = Secrets.made(home, keys)
    yield made
    made.close()


def test_a_secret_is_set_read_listed_and_removed(store: Secrets) -> None:
    store.set("mes", "old")
    held = store.set("mes", VALUE)
    assert (held.name, held.version, held.algorithm) == ("mes", 2, "aes-256-gcm")
    assert [one.name for one in store.list()] == ["mes"]
    assert store.get("mes") == VALUE
    assert store.get("erp") is None
    assert store.remove("mes")
    assert not store.remove("mes")
    assert store.get("mes") is None


def test_no_file_of_the_home_holds_the_value_and_only_the_owner_reads_them(home: Home, store: Secrets) -> None:
    store.set("mes", VALUE)
    store.remove("mes")
    store.set("erp", VALUE)
    for file in home.path.iterdir():
        assert b"hunter2" not in file.read_bytes(), file
        assert file.name == ".gitignore" or stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_records_and_keys_that_were_moved_do_not_open(home: Home, store: Secrets) -> None:
    store.set("low", "a harmless value")
    store.set("high", "the salary file")
    database = sqlite3.connect(home.secret_store)
    with database:
        database.execute(
            "UPDATE secrets SET (algorithm, key, nonce, ciphertext, tag) ="
            " (SELECT algorithm, key, nonce, ciphertext, tag FROM secrets WHERE name = 'high') WHERE name = 'low'"
        )
    with pytest.raises(SecretError, match="the record secrets/low does not open"):
        store.get("low")
    with database:
        database.execute("UPDATE keys SET purpose = 'sm4-gcm'")
    database.close()
    with pytest.raises(SecretError, match="the record keys/d-"):
        store.get("high")


def test_what_cannot_be_kept_is_refused(store: Secrets) -> None:
    for name in ("../x", ".hidden", "a b", ""):
        with pytest.raises(SecretError, match="is not a name of a secret"):
            store.set(name, "value")
    for value in ("", "x" * (LARGEST + 1)):
        with pytest.raises(SecretError, match="a secret has 1 to 65536 bytes"):
            store.set("mes", value)


def test_a_key_file_that_others_can_read_is_refused(home: Home, store: Secrets, keys: Keys) -> None:
    store.set("mes", VALUE)
    home.secret_key.chmod(0o640)
    with pytest.raises(SecretError, match="can be read by others"):
        look_up(home, keys, "mes")


def test_a_lost_key_is_told_and_never_replaced(home: Home, store: Secrets, keys: Keys) -> None:
    store.set("mes", VALUE)
    copy = home.secret_key.read_text(encoding="utf-8")
    home.secret_key.unlink()
    with pytest.raises(SecretError, match="cannot be read"):
        look_up(home, keys, "mes")
    with pytest.raises(SecretError, match=r"the key file .* is gone"):
        Secrets.made(home, keys)
    keys.write([Key.fresh(SM4)])
    with pytest.raises(SecretError, match=r"are sealed under the key k-\w+, which is not in"):
        look_up(home, keys, "mes")
    home.secret_key.write_text(copy, encoding="utf-8")
    assert look_up(home, keys, "mes") == VALUE


def test_the_key_may_come_from_the_environment_or_a_file_elsewhere(home: Home, tmp_path: Path) -> None:
    key = Key.fresh(SM4)
    scrubber = Scrubber()
    given = Keys(home, scrubber, {"TONGQU_SECRET_KEY": key.text})
    store = Secrets.made(home, given)
    assert store.set("mes", VALUE).algorithm == SM4
    store.close()
    assert not home.secret_key.exists()
    assert scrubber.text(f"{key.text} {key.raw.hex()}") == "*** ***"
    elsewhere = tmp_path / "mounted"
    elsewhere.write_text(f"# the plant's key\n{key.raw.hex()}\n", encoding="utf-8")
    elsewhere.chmod(0o400)
    assert look_up(home, Keys(home, Scrubber(), {"TONGQU_SECRET_KEY_FILE": str(elsewhere)}), "mes") == VALUE


def test_looking_creates_nothing(home: Home, keys: Keys) -> None:
    assert look_up(home, keys, "mes") is None
    assert not home.path.exists()


def test_a_damaged_store_is_told(home: Home, keys: Keys) -> None:
    home.ensure()
    home.secret_store.write_bytes(b"this is no database" * 100)
    with pytest.raises(SecretError, match="cannot be read"):
        look_up(home, keys, "mes")
