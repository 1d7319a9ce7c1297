"""Files encrypted with OpenPGP open with the right key and with no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pysequoia
import pytest

from tongqu.core.errors import AuthError, InvalidSettingsError
from tongqu.kit.places.sealed import Opener

PLAIN = b"id,v\n1,a\n" * 1000


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key's file; `x.pgp` beside it is sealed for it."""
    made: Any = pysequoia.Tsk.generate("Test <test@example.org>")
    (tmp_path / "key.asc").write_text(str(made))
    (tmp_path / "plain").write_bytes(PLAIN)
    sealed = tmp_path / "x.pgp"
    pysequoia.encrypt_file(str(tmp_path / "plain"), str(sealed), recipients=[made.extract_certificate()], armor=False)
    return tmp_path / "key.asc"


def test_a_key_opens_what_was_sealed_for_it(key: Path, tmp_path: Path) -> None:
    Opener(str(key)).open(tmp_path / "x.pgp", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == PLAIN


def test_a_password_opens_what_was_sealed_with_it(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    pysequoia.encrypt_file(str(tmp_path / "plain"), str(tmp_path / "x.gpg"), passwords=["geheim"])
    Opener(None, "geheim").open(tmp_path / "x.gpg", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == PLAIN
    with pytest.raises(AuthError) as caught:
        Opener(None, "falsch-secret").open(tmp_path / "x.gpg", tmp_path / "out2")
    assert "falsch-secret" not in f"{caught.value} {caught.value.hint}"


def test_no_key_another_key_and_damage_are_told(key: Path, tmp_path: Path) -> None:
    sealed = tmp_path / "x.pgp"
    with pytest.raises(InvalidSettingsError, match="no key is set"):
        Opener().open(sealed, tmp_path / "out")
    with pytest.raises(InvalidSettingsError, match="private key cannot be used"):
        Opener(str(tmp_path / "plain")).open(sealed, tmp_path / "out")
    (tmp_path / "other.asc").write_text(str(pysequoia.Tsk.generate("Other <other@example.org>")))
    with pytest.raises(AuthError, match="does not open"):
        Opener(str(tmp_path / "other.asc")).open(sealed, tmp_path / "out")
    sealed.write_bytes(sealed.read_bytes()[:-200])
    with pytest.raises(AuthError, match="does not open"):
        Opener(str(key)).open(sealed, tmp_path / "out")
