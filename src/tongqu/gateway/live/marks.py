"""Positions as callers see them: opaque, so that nobody counts what happens in tables that are not theirs."""

from __future__ import annotations

import base64
import binascii
import struct
from hashlib import blake2b

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

_BLOCK = struct.Struct(">Q8s")


class Marks:
    """Positions of the feed as 22 characters and back. One block of AES holds the position and whom it is for, so that
    equal blocks are equal positions and nothing else can be made of them; `key` has 32 bytes."""

    def __init__(self, key: bytes):
        self._cipher = Cipher(AES(key), ECB())  # noqa: S305  # one block, all of it random to who has no key

    def mark(self, about: str, position: int) -> str:
        """The position as those may see it who follow `about`."""
        encryptor = self._cipher.encryptor()
        block = encryptor.update(_BLOCK.pack(position, _digest(about))) + encryptor.finalize()
        return base64.urlsafe_b64encode(block).rstrip(b"=").decode()

    def position(self, about: str, mark: str) -> int | None:
        """The position of a mark; None if it is no mark of `about`."""
        try:
            block = base64.b64decode(mark.encode() + b"==", b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(block) != _BLOCK.size:
            return None
        decryptor = self._cipher.decryptor()
        position, whose = _BLOCK.unpack(decryptor.update(block) + decryptor.finalize())
        return int(position) if whose == _digest(about) else None


def _digest(about: str) -> bytes:
    return blake2b(about.encode(), digest_size=8).digest()
