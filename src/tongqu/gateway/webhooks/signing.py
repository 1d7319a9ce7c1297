"""Signatures of deliveries as Standard Webhooks 1.0 has them: `v1` by HMAC-SHA256, `v1a` by Ed25519."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tongqu.core.errors import InvalidSettingsError

SYMMETRIC, ASYMMETRIC = "whsec_", "whsk_"
_LEAST, _MOST = 24, 64


def new_secret() -> str:
    """A secret for one receiver: 32 random bytes."""
    return SYMMETRIC + base64.b64encode(secrets.token_bytes(32)).decode()


def checked(secret: str) -> str:
    """The secret, if it is one; raises InvalidSettingsError, which does not tell it."""
    _key(secret)
    return secret


def signature(keys: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature of `id.timestamp.body` for each secret, the present one first."""
    signed = f"{id}.{timestamp}.".encode() + body
    return " ".join(_signed(key, signed) for key in keys)


def _signed(secret: str, signed: bytes) -> str:
    key = _key(secret)
    if secret.startswith(ASYMMETRIC):
        made = Ed25519PrivateKey.from_private_bytes(key[:32]).sign(signed)
        return f"v1a,{base64.b64encode(made).decode()}"
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def _key(secret: str) -> bytes:
    for prefix, least, most in ((SYMMETRIC, _LEAST, _MOST), (ASYMMETRIC, 32, 64)):
        if secret.startswith(prefix):
            try:
                key = base64.b64decode(secret.removeprefix(prefix), validate=True)
            except (binascii.Error, ValueError):
                break
            if least <= len(key) <= most:
                return key
    raise InvalidSettingsError(
        "a webhook's secret is `whsec_` and 24 to 64 bytes in base64, or `whsk_` and an Ed25519 key",
        hint="tongqu webhook rotate makes one",
    )
