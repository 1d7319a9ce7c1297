"""Encrypted cells: one text for each value, with the algorithm, the key's id, the nonce and the sealed value in it.

A cell reads `tq1.ALGORITHM.KEYID.DATA`; DATA is base64url of nonce, ciphertext and tag. What stands before DATA, and
the `context`, are authenticated with the value (associated data `tq1.ALGORITHM.KEYID|CONTEXT`): neither can be changed.

* `aes-gcm`: AES-GCM (NIST SP 800-38D) with 16, 24 or 32 bytes of key and a random nonce of 96 bits for each cell. A key
  should seal fewer than 2**32 cells.
* `sm4-gcm`: SM4-GCM (GB/T 32907, RFC 8998) with 16 bytes of key, likewise.
* `aes-gcm-siv`: AES-GCM-SIV (RFC 8452) with 16 or 32 bytes of key and an all-zero nonce. Equal values give equal cells,
  which can be joined and counted, and which also tell everybody that they are equal.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import DecryptError, MissingDriverError, SecretError

Algorithm = Literal["aes-gcm", "sm4-gcm", "aes-gcm-siv"]
Random = Callable[[int], bytes]
"""Gives so many random bytes."""

KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MARK = "tq1"
_NONCE = 12
_TAG = 16
_KEY_BYTES: Mapping[Algorithm, tuple[int, ...]] = {
    "aes-gcm": (16, 24, 32),
    "sm4-gcm": (16,),
    "aes-gcm-siv": (16, 32),
}


class Seal(Protocol):
    """One algorithm under one key."""

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        """Ciphertext and tag."""

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        """The value; raises cryptography's InvalidTag."""


class _Sm4Gcm:
    def __init__(self, key: bytes):
        from cryptography.hazmat.primitives.ciphers import algorithms

        self._key = algorithms.SM4(key)

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        sealing = Cipher(self._key, modes.GCM(nonce)).encryptor()
        sealing.authenticate_additional_data(aad)
        return sealing.update(data) + sealing.finalize() + sealing.tag

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        opening = Cipher(self._key, modes.GCM(nonce, data[-_TAG:])).decryptor()
        opening.authenticate_additional_data(aad)
        return opening.update(data[:-_TAG]) + opening.finalize()


def seal(key: bytes, algorithm: Algorithm) -> Seal:
    """The algorithm under the key; raises MissingDriverError."""
    try:
        from cryptography.hazmat.primitives.ciphers import aead
    except ImportError as error:
        raise MissingDriverError("encryption needs cryptography", hint="pip install 'tongqu[crypto]'") from error
    if algorithm == "sm4-gcm":
        return _Sm4Gcm(key)
    return aead.AESGCM(key) if algorithm == "aes-gcm" else aead.AESGCMSIV(key)


def read_key(text: str, algorithms: tuple[Algorithm, ...], name: str) -> bytes:
    """A key written as hex or base64; raises SecretError, which never shows it, if its length fits no algorithm."""
    lengths = {length for algorithm in algorithms for length in _KEY_BYTES[algorithm]}
    for decode in (bytes.fromhex, _base64):
        try:
            key = decode(text.strip())
        except (ValueError, binascii.Error):
            continue
        if len(key) in lengths:
            return key
    wanted = " or ".join(map(str, sorted(lengths)))
    raise SecretError(
        f"the key {name} is not {wanted} bytes written as hex or base64",
        hint="make one: python -c 'import secrets; print(secrets.token_hex(32))'",
    )


def encrypted(
    values: pa.Array[Any],
    key: bytes,
    *,
    key_id: str,
    algorithm: Algorithm = "aes-gcm",
    context: str = "",
    random: Random = os.urandom,
) -> pa.Array[Any]:
    """The cells of texts; null stays null."""
    cell = _cells(key, key_id, algorithm, context)
    texts = pc.cast(values, pa.large_string())
    if algorithm == "aes-gcm-siv":
        coded = texts.dictionary_encode()
        distinct = [cell(bytes(_NONCE), str(value)) for value in coded.dictionary.to_pylist()]
        return pa.array(distinct, pa.string()).take(coded.indices)
    nonces = random(_NONCE * len(texts))
    cells = [
        None if value is None else cell(nonces[_NONCE * at : _NONCE * (at + 1)], value)
        for at, value in enumerate(texts.to_pylist())
    ]
    return pa.array(cells, pa.string())


def sealing(
    key: bytes, *, key_id: str, algorithm: Algorithm, context: str = "", random: Random = os.urandom
) -> Callable[[str], str]:
    """The same for one text after the other."""
    cell = _cells(key, key_id, algorithm, context)
    if algorithm == "aes-gcm-siv":
        return lambda value: cell(bytes(_NONCE), value)
    return lambda value: cell(random(_NONCE), value)


def _cells(key: bytes, key_id: str, algorithm: Algorithm, context: str) -> Callable[[bytes, str], str]:
    made, head = seal(key, algorithm), f"{_MARK}.{algorithm}.{key_id}"
    aad = f"{head}|{context}".encode()

    def cell(nonce: bytes, value: str) -> str:
        data = nonce + made.encrypt(nonce, value.encode(), aad)
        return f"{head}.{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}"

    return cell


def decrypted(values: pa.Array[Any], keys: Mapping[str, bytes], *, context: str = "") -> pa.Array[Any]:
    """The texts of cells; null stays null. `keys` are by their ids, whatever the algorithm of a cell.

    Raises DecryptError with the row's number for a text that is no cell, a key that is not there, and a cell that does
    not open: the key is another, or the cell or its context was changed. No value is ever part of the error.
    """
    seals: dict[str, Seal] = {}
    made: list[str | None] = []
    for row, value in enumerate(values.to_pylist()):
        made.append(None if value is None else _opened(value, keys, seals, context=context, row=row))
    return pa.array(made, pa.string())


def _opened(cell: str, keys: Mapping[str, bytes], seals: dict[str, Seal], *, context: str, row: int) -> str:
    from cryptography.exceptions import InvalidTag

    head, _, data = cell.rpartition(".")
    mark, _, rest = head.partition(".")
    algorithm, _, key_id = rest.partition(".")
    if mark != _MARK or algorithm not in _KEY_BYTES or not KEY_ID.fullmatch(key_id):
        raise DecryptError("the value is not encrypted by Tongqu", row=row, hint="decrypt only what `encrypt` made")
    if key_id not in keys:
        held = ", ".join(sorted(keys))
        raise DecryptError(f"the value is encrypted with key {key_id!r}, and there is no such key", row=row,
                           hint=f"keys of the step: {held}", params={"key": key_id})  # fmt: skip
    try:
        if head not in seals:
            seals[head] = seal(keys[key_id], algorithm)  # type: ignore[arg-type]  # it is one of the names
        raw = _base64(data)
        return seals[head].decrypt(raw[:_NONCE], raw[_NONCE:], f"{head}|{context}".encode()).decode()
    except (InvalidTag, ValueError, binascii.Error):
        raise DecryptError(
            f"the value does not open with key {key_id!r}: it is another key or context, or the value was changed",
            row=row,
            hint="give the key it was encrypted with, and the same `context`",
            params={"key": key_id},
        ) from None


def _base64(text: str) -> bytes:
    plain = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
