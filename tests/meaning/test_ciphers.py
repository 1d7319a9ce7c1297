"""The ciphers against published vectors; cells open only as they were sealed."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import DecryptError, SecretError
from tongqu.meaning.ciphers import Algorithm, decrypted, encrypted, read_key, seal

KEYS: dict[Algorithm, bytes] = {"aes-gcm": bytes(range(32)), "sm4-gcm": bytes(range(16)), "aes-gcm-siv": bytes(32)}
TEXTS = st.lists(st.none() | st.text(max_size=40), max_size=10)


def test_aes_gcm_of_nist() -> None:
    # McGrew and Viega, The Galois/Counter Mode of Operation, test case 4 (in NIST's validation set)
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"
    )
    made = seal(key, "aes-gcm")
    assert made.encrypt(nonce, plain, aad) == sealed
    assert made.decrypt(nonce, sealed, aad) == plain


def test_sm4_gcm_of_rfc_8998() -> None:
    key = bytes.fromhex("0123456789abcdeffedcba9876543210")
    nonce = bytes.fromhex("00001234567800000000abcd")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plain = b"".join(bytes([b]) * 8 for b in (0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0xEE, 0xAA))
    sealed = bytes.fromhex(
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
        "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d83de3541e4c2b58177e065a9bf7b62ec"
    )
    made = seal(key, "sm4-gcm")
    assert made.encrypt(nonce, plain, aad) == sealed
    assert made.decrypt(nonce, sealed, aad) == plain


def test_aes_gcm_siv_of_rfc_8452() -> None:
    key = bytes.fromhex("01" + "00" * 15)
    sealed = seal(key, "aes-gcm-siv").encrypt(bytes.fromhex("03" + "00" * 11), bytes.fromhex("01" + "00" * 7), b"")
    assert sealed.hex() == "b5d839330ac7b786578782fff6013b815b287c22493a364c"


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_what_was_sealed_opens(algorithm: Algorithm) -> None:
    @settings(max_examples=25, deadline=None)
    @given(TEXTS, st.text(max_size=5))
    def same(values: list[str | None], context: str) -> None:
        cells = encrypted(
            pa.array(values, pa.string()), KEYS[algorithm], key_id="k-1", algorithm=algorithm, context=context
        )
        assert [cell is None for cell in cells.to_pylist()] == [value is None for value in values]
        assert decrypted(cells, {"k-1": KEYS[algorithm]}, context=context).to_pylist() == values

    same()


@pytest.mark.parametrize("algorithm", ["aes-gcm", "sm4-gcm"])
def test_no_nonce_comes_twice(algorithm: Algorithm) -> None:
    cells = encrypted(pa.array(["same"] * 2000), KEYS[algorithm], key_id="1", algorithm=algorithm).to_pylist()
    nonces = {base64.urlsafe_b64decode(str(cell).rsplit(".", 1)[1] + "==")[:12] for cell in cells}
    assert len(nonces) == len(set(cells)) == 2000


def test_randomness_can_be_given() -> None:
    def count(size: int) -> bytes:
        return bytes(n % 256 for n in range(size))

    made = [encrypted(pa.array(["a", "b"]), KEYS["aes-gcm"], key_id="1", random=count).to_pylist() for _ in range(2)]
    assert made[0] == made[1]


def test_deterministic_cells_can_be_joined() -> None:
    first, second, other = encrypted(
        pa.array(["a", "a", "b"]), KEYS["aes-gcm-siv"], key_id="1", algorithm="aes-gcm-siv"
    ).to_pylist()
    assert first == second != other


def _changed(cell: str, at: int) -> str:
    return cell[:at] + ("A" if cell[at] != "A" else "B") + cell[at + 1 :]


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_what_does_not_open_says_so_without_the_value(algorithm: Algorithm) -> None:
    secret = "the salary is 12345"  # the value that must not be shown
    (cell,) = encrypted(pa.array([secret]), KEYS[algorithm], key_id="1", algorithm=algorithm, context="hr").to_pylist()
    cell = str(cell)
    right = {"1": KEYS[algorithm]}
    wrong: list[tuple[str, dict[str, bytes], str, str]] = [
        (cell, {"1": bytes([1]) * len(KEYS[algorithm])}, "hr", "does not open with key '1'"),
        (cell, right, "other", "does not open with key '1'"),
        (_changed(cell, len(cell) - 12), right, "hr", "does not open"),
        (_changed(cell, cell.rindex(".") + 3), right, "hr", "does not open"),
        (cell.replace(".1.", ".2.", 1), right, "hr", "there is no such key"),
        (cell.replace(".1.", ".2.", 1), {"2": KEYS[algorithm]}, "hr", "does not open"),
        (cell[:-30], right, "hr", "does not open"),
        (secret, right, "hr", "not encrypted by Tongqu"),
        ("tq1.rot13.1.AAAA", right, "hr", "not encrypted by Tongqu"),
    ]
    for given_cell, keys, context, words in wrong:
        with pytest.raises(DecryptError, match=words) as caught:
            decrypted(pa.array([None, given_cell]), keys, context=context)
        assert caught.value.row == 1 and caught.value.code == "data.decrypt"
        told: Any = caught.value.problem(), caught.value.args
        assert secret not in str(told) and given_cell not in str(told)


@pytest.mark.parametrize("text", ["00" * 32, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", " " + "00" * 16 + "\n"])
def test_keys_are_hex_or_base64(text: str) -> None:
    assert set(read_key(text, ("aes-gcm",), "${secret:k}")) == {0}


@pytest.mark.parametrize("text", ["hunter2", "00" * 15, "", "00" * 32])
def test_a_key_of_another_length_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SecretError, match="16 bytes written as hex or base64") as caught:
        read_key(text, ("sm4-gcm",), "${secret:k}")
    assert not text or text not in str(caught.value.problem())
