"""One sealed record: which algorithm, under which key, and bound to the place where it is stored.

A record is `algorithm, key id, nonce, ciphertext, tag`. The associated data are, each with its length before it,
`tongqu-secrets-1`, the algorithm, the key's id and the record's place (table, row, column …): a record that was moved
to another row, put under another key's id or changed by one bit does not open.

* `aes-256-gcm`: AES-GCM (NIST SP 800-38D) with 32 bytes of key.
* `sm4-gcm`: SM4-GCM (GB/T 32907, RFC 8998) with 16 bytes of key.

Nonces are 96 random bits; a key should seal fewer than 2**32 records.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.core.errors import SecretError
from tongqu.meaning.ciphers import Algorithm, read_key, seal

AES, SM4 = "aes-256-gcm", "sm4-gcm"
PROFILES: Mapping[str, str] = {"standard": AES, "gm": SM4}
"""The algorithm of each profile; `gm` is 国密."""

_CIPHERS: Mapping[str, tuple[Algorithm, int]] = {AES: ("aes-gcm", 32), SM4: ("sm4-gcm", 16)}
_NONCE = 12
_TAG = 16


@dataclass(frozen=True)
class Key:
    """A key with the algorithm it is for; its text is never part of `repr`."""

    id: str
    algorithm: str
    raw: bytes = field(repr=False)

    @classmethod
    def fresh(cls, algorithm: str, id: str = "") -> Key:
        """A random key; without an id of its own it has one that follows from its bytes."""
        raw = os.urandom(_CIPHERS[algorithm][1])
        return cls(id or _id(raw), algorithm, raw)

    @classmethod
    def read(cls, text: str, name: str) -> Key:
        """A key written as base64 or hex: 32 bytes are for AES-256-GCM, 16 for SM4-GCM; raises SecretError."""
        raw = read_key(text, ("aes-gcm", "sm4-gcm"), name)
        found = [algorithm for algorithm, (_, length) in _CIPHERS.items() if length == len(raw)]
        if not found:
            raise SecretError(
                f"the key in {name} has {len(raw)} bytes: 32 are needed for {AES}, 16 for {SM4}",
                hint="openssl rand -base64 32",
            )
        return cls(_id(raw), found[0], raw)

    @property
    def text(self) -> str:
        """The key as base64; whoever prints it gives everything away."""
        return base64.b64encode(self.raw).decode()


@dataclass(frozen=True)
class Sealed:
    """A record as it is stored."""

    algorithm: str
    key: str
    nonce: bytes
    ciphertext: bytes
    tag: bytes

    @classmethod
    def of(cls, row: Sequence[Any]) -> Sealed:
        """A record from its five columns."""
        algorithm, key, nonce, ciphertext, tag = row
        return cls(str(algorithm), str(key), bytes(nonce), bytes(ciphertext), bytes(tag))

    @property
    def columns(self) -> tuple[str, str, bytes, bytes, bytes]:
        """The five columns."""
        return (self.algorithm, self.key, self.nonce, self.ciphertext, self.tag)


def sealed(key: Key, value: bytes, place: Sequence[str]) -> Sealed:
    """The value under the key, bound to its place; raises MissingDriverError without `cryptography`."""
    nonce = os.urandom(_NONCE)
    made = seal(key.raw, _CIPHERS[key.algorithm][0]).encrypt(nonce, value, _bound(key, place))
    return Sealed(key.algorithm, key.id, nonce, made[:-_TAG], made[-_TAG:])


def opened(key: Key, record: Sealed, place: Sequence[str]) -> bytes:
    """The value; raises SecretError if the record was changed, moved or sealed by another key. Shows neither."""
    cipher = seal(key.raw, _CIPHERS[key.algorithm][0])
    from cryptography.exceptions import InvalidTag

    damaged = (record.algorithm, record.key) != (key.algorithm, key.id) or len(record.tag) != _TAG
    try:
        if damaged or len(record.nonce) != _NONCE:
            raise InvalidTag
        return cipher.decrypt(record.nonce, record.ciphertext + record.tag, _bound(key, place))
    except InvalidTag:
        raise SecretError(
            f"the record {'/'.join(place[:2])} does not open with key {key.id}: it was changed or moved, or is damaged",
            hint="set the secret again, or put back a copy of the store",
        ) from None


def _bound(key: Key, place: Sequence[str]) -> bytes:
    parts = [part.encode() for part in ("tongqu-secrets-1", key.algorithm, key.id, *place)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _id(raw: bytes) -> str:
    return "k-" + hmac.new(raw, b"tongqu key id", hashlib.sha256).hexdigest()[:12]
