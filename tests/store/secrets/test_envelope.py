"""A record opens with its key at its place, and in no other case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tongqu.core.errors import SecretError
from tongqu.store.secrets.envelope import AES, SM4, Key, Sealed, opened, sealed

PLACE = ("secrets", "mes", "value")


@pytest.mark.parametrize("algorithm", [AES, SM4])
def test_what_is_sealed_opens_at_its_place(algorithm: str) -> None:
    key = Key.fresh(algorithm)
    record = sealed(key, b"hunter2", PLACE)
    assert (record.algorithm, record.key, len(record.nonce), len(record.tag)) == (algorithm, key.id, 12, 16)
    assert Sealed.of(record.columns) == record
    assert opened(key, record, PLACE) == b"hunter2"


@pytest.mark.parametrize("algorithm", [AES, SM4])
@pytest.mark.parametrize(
    "place", [("secrets", "erp", "value"), ("keys", "mes", "value"), ("secrets", "mes"), ("secret", "smes", "value")]
)
def test_a_record_that_was_moved_does_not_open(algorithm: str, place: tuple[str, ...]) -> None:
    key = Key.fresh(algorithm)
    with pytest.raises(SecretError, match="does not open"):
        opened(key, sealed(key, b"hunter2", PLACE), place)


@pytest.mark.parametrize("algorithm", [AES, SM4])
@pytest.mark.parametrize("part", ["nonce", "ciphertext", "tag"])
def test_a_record_with_one_wrong_bit_does_not_open(algorithm: str, part: str) -> None:
    key = Key.fresh(algorithm)
    record = sealed(key, b"hunter2", PLACE)
    for bit in range(8):
        whole = getattr(record, part)
        wrong = {part: bytes([whole[0] ^ (1 << bit)]) + whole[1:]}
        with pytest.raises(SecretError, match="does not open"):
            opened(key, replace(record, **wrong), PLACE)


def test_another_key_or_a_shorter_tag_does_not_open() -> None:
    key = Key.fresh(AES)
    record = sealed(key, b"hunter2", PLACE)
    for other in (Key.fresh(AES), Key(key.id, AES, Key.fresh(AES).raw)):
        with pytest.raises(SecretError, match="does not open"):
            opened(other, record, PLACE)
    with pytest.raises(SecretError, match="does not open"):
        opened(key, replace(record, tag=record.tag[:12]), PLACE)


def test_the_same_value_never_looks_the_same() -> None:
    key = Key.fresh(AES)
    assert len({sealed(key, b"hunter2", PLACE).nonce for _ in range(2000)}) == 2000


def test_a_key_says_by_its_length_what_it_is_for_and_never_shows_itself() -> None:
    key = Key.fresh(SM4)
    assert Key.read(key.text, "here") == key == Key.read(key.raw.hex(), "here")
    assert key.text not in repr(key)
    assert repr(key.raw) not in repr(key)
    with pytest.raises(SecretError) as raised:
        Key.read("ab" * 24, "$KEY")
    assert raised.value.message == "the key in $KEY has 24 bytes: 32 are needed for aes-256-gcm, 16 for sm4-gcm"
    with pytest.raises(SecretError) as raised:
        Key.read("not-a-key-at-all", "$KEY")
    assert "not-a-key" not in raised.value.message
