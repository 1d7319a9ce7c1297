"""Masks that need a key: digests, tokens and encrypted cells, put on values after they left the database."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import InvalidPlanError, SecretError
from tongqu.meaning.ciphers import Algorithm, Random, encrypted, read_key, sealing
from tongqu.meaning.digests import digest, digested
from tongqu.meaning.masks import Mask

_KEPT = 4096
_EXACT = Context(prec=100)


def cipher(mask: Mask) -> Algorithm:
    """What `tokenise` and `encrypt` seal with: equal values give equal tokens (AES-GCM-SIV), never equal cells."""
    return "aes-gcm-siv" if mask.with_ == "tokenise" else mask.cipher


def fits(mask: Mask, name: str, kind: pa.DataType) -> None:
    """Raises InvalidPlanError for a column that a keyed mask cannot hide."""
    tests: list[Callable[[pa.DataType], bool]] = [pa.types.is_string, pa.types.is_large_string, pa.types.is_integer]
    told = "text and integers"
    if mask.with_ != "hash":
        tests += [pa.types.is_decimal, pa.types.is_date]
        told = "text, integers, decimals and dates"
    if not any(test(kind) for test in tests):
        raise InvalidPlanError(f"{name!r} is {kind}; `{mask.with_}` masks {told}")


def read_mask_key(mask: Mask, text: bytes) -> bytes:
    """The key as the mask uses it; raises SecretError, which never shows it, if it is none."""
    if mask.with_ != "hash":
        return read_key(text.decode("utf-8", "replace"), (cipher(mask),), mask.key or "of the mask")
    if not text.strip():
        raise SecretError(f"the key {mask.key} is empty, and anybody could guess what it hides",
                          hint="make one: python -c 'import secrets; print(secrets.token_hex(32))'")  # fmt: skip
    return text


class Hider:
    """Hides values of one column, one by one; null stays null. `text` is the key as the reference gave it.

    `varies`: the same value looks different each time (`encrypt`).
    """

    def __init__(self, mask: Mask, text: bytes, kind: pa.DataType, random: Random = os.urandom) -> None:
        key = read_mask_key(mask, text)
        self.varies = mask.with_ == "encrypt"
        self._scale = kind.scale if pa.types.is_decimal(kind) else None
        made = _hashing(mask, key) if mask.with_ == "hash" else _sealing(mask, key, random)
        self._hide = made if self.varies else lru_cache(maxsize=_KEPT)(made)

    def __call__(self, value: Any) -> str | None:
        """What is shown of the value."""
        if value is None:
            return None
        if self._scale is not None:
            value = format(Decimal(str(value)).quantize(Decimal(1).scaleb(-self._scale), context=_EXACT), "f")
        return self._hide(str(value))


def _hashing(mask: Mask, key: bytes) -> Callable[[str], str]:
    return lambda value: digest(value.encode(), key, mask.algorithm)


def _sealing(mask: Mask, key: bytes, random: Random) -> Callable[[str], str]:
    return sealing(key, key_id=mask.key_id, algorithm=cipher(mask), context=mask.context, random=random)


def hidden(values: pa.Array[Any], mask: Mask, text: bytes, random: Random = os.urandom) -> pa.Array[Any]:
    """The same for a column of rows."""
    key = read_mask_key(mask, text)
    if mask.with_ == "hash":
        return digested(values, key, mask.algorithm)
    texts = pc.cast(values, pa.string())
    return encrypted(texts, key, key_id=mask.key_id, algorithm=cipher(mask), context=mask.context, random=random)
