"""References become values in one place; what cannot be resolved says where it was looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.core.errors import SecretError
from tongqu.store.references import References
from tongqu.store.scrub import Scrubber


def references(folder: Path, **environ: str) -> References:
    return References(secrets=folder / "secrets", folder=folder, scrubber=Scrubber(), environ=environ)


def test_env_secret_and_file(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "mes").write_text("s3cret\n", encoding="utf-8")
    (tmp_path / "secrets" / "mes").chmod(0o600)
    (tmp_path / "token.txt").write_text("abc\n", encoding="utf-8")
    values = {"host": "${env:HOST}", "password": "${secret:mes}", "more": ["x-${file:token.txt}", 7]}
    assert references(tmp_path, HOST="db").resolve(values) == {
        "host": "db",
        "password": "s3cret",
        "more": ["x-abc", 7],
    }


def test_a_secret_in_the_environment_comes_first(tmp_path: Path) -> None:
    assert references(tmp_path, TONGQU_SECRET_mes="one").resolve("${secret:mes}") == "one"
    assert references(tmp_path, TONGQU_SECRET_MES="two").resolve("${secret:mes}") == "two"


def test_credentials_in_a_url_are_encoded_and_the_rest_is_not(tmp_path: Path) -> None:
    found = references(tmp_path, TONGQU_SECRET_p="a@b/c", DIR="/data/x").resolve("postgresql://u:${secret:p}@h/db")
    assert found == "postgresql://u:a%40b%2Fc@h/db"
    assert references(tmp_path, DIR="/data/x").resolve("sqlite:${env:DIR}/a.db") == "sqlite:/data/x/a.db"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${env:NOPE}", "the environment variable NOPE is not set"),
        ("${secret:nope}", "looked for the variable TONGQU_SECRET_nope, among the sealed secrets"),
        ("${secret:../x}", "is not a name of a secret"),
        ("${file:nope.txt}", "cannot be read"),
        ("${vault:x}", "there is no vault to look"),
        ("${safe:x}", "unknown kind of reference 'safe'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SecretError) as raised:
        references(tmp_path).resolve({"password": text}, "tongqu.yaml:3:connections.a")
    assert message in raised.value.message
    assert raised.value.path == "tongqu.yaml:3:connections.a.password"
    assert raised.value.exit_code == 2


def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "mes").write_text("s3cret", encoding="utf-8")
    (tmp_path / "secrets" / "mes").chmod(0o644)
    with pytest.raises(SecretError, match="can be read by others"):
        references(tmp_path).resolve("${secret:mes}")


def test_references_deep_inside_settings_resolve_and_tell_who_was_used(tmp_path: Path) -> None:
    used: list[tuple[str, str]] = []
    scrubber = Scrubber()
    several = References(
        secrets=tmp_path, folder=tmp_path, scrubber=scrubber, environ={"HOST": "db-1.plant", "TOKEN": "t0ken-t0ken"},
        stored={"mes": "sealed-value"}.get, vault=lambda name: f"from {name}", noted=used.extend,
    )  # fmt: skip
    found = several.resolve(
        {"auth": {"oauth2": {"client_secret": "${secret:mes}", "extra": ["${vault:a/b#c}"]}},
         "headers": {"X-Token": "${env:TOKEN}", "Host": "${env:HOST}"}}
    )  # fmt: skip
    assert found == {
        "auth": {"oauth2": {"client_secret": "sealed-value", "extra": ["from a/b#c"]}},
        "headers": {"X-Token": "t0ken-t0ken", "Host": "db-1.plant"},
    }
    assert used == [("secret", "mes"), ("vault", "a/b#c"), ("env", "TOKEN"), ("env", "HOST")]
    assert scrubber.text("sealed-value, from a/b#c, t0ken-t0ken, db-1.plant") == "***, ***, ***, db-1.plant"


def test_a_sealed_secret_comes_before_a_plain_file_and_after_a_variable(tmp_path: Path) -> None:
    (tmp_path / "mes").write_text("plain", encoding="utf-8")
    (tmp_path / "mes").chmod(0o600)
    for stored, environ, expected in (
        ({}, {}, "plain"),
        ({"mes": "sealed"}, {}, "sealed"),
        ({"mes": "sealed"}, {"TONGQU_SECRET_MES": "variable"}, "variable"),
    ):
        several = References(
            secrets=tmp_path, folder=tmp_path, scrubber=Scrubber(), environ=environ, stored=dict(stored).get
        )
        assert several.resolve("${secret:mes}") == expected


@pytest.mark.parametrize(
    "text", ["${env:TONGQU_SECRET_KEY}", "${file:home/secret.key}", "${secret:key}", "${secret:KEY}"]
)
def test_the_key_of_all_secrets_is_no_value(tmp_path: Path, text: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "secret.key").write_text("the key", encoding="utf-8")
    several = References(
        secrets=tmp_path / "home" / "secrets", folder=tmp_path, scrubber=Scrubber(), environ={"TONGQU_SECRET_KEY": "k"}
    )
    with pytest.raises(SecretError):
        several.resolve(text)
