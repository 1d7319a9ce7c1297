"""Keyed digests of columns: equal values stay equal, and without the key nobody can try values out."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import MissingDriverError

Digest = Literal["sha256", "sm3"]


def digested(values: pa.Array[Any], key: bytes, algorithm: Digest = "sha256") -> pa.Array[Any]:
    """HMAC (RFC 2104) of each text with SHA-256 or SM3 (GB/T 32905), as 64 hex digits; null stays null.

    Each distinct value is digested once.
    """
    coded = pc.cast(values, pa.large_string()).dictionary_encode()
    made = [digest(str(value).encode(), key, algorithm) for value in coded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(coded.indices)


def digest(value: bytes, key: bytes, algorithm: Digest = "sha256") -> str:
    """The same of one value."""
    if algorithm == "sha256":
        import hmac

        return hmac.digest(key, value, "sha256").hex()
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.hmac import HMAC
    except ImportError as error:
        raise MissingDriverError("SM3 needs cryptography", hint="pip install 'tongqu[crypto]'") from error
    made = HMAC(key, hashes.SM3())  # OpenSSL may lack it under hashlib's name; cryptography always has it
    made.update(value)
    return made.finalize().hex()
