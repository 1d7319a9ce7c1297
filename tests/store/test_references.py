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
        ("${secret:nope}", "looked for the variable TONGQU_SECRET_nope and the file"),
        ("${secret:../x}", "is not a name of a secret"),
        ("${file:nope.txt}", "cannot be read"),
        ("${vault:x}", "unknown kind of reference 'vault'"),
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
