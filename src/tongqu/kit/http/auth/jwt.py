"""Signs assertions as JSON web tokens (RFC 7515, RFC 7519), nothing more."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.drivers import driver

_SECONDS = 300


def signed(claims: Mapping[str, Any], key: str, algorithm: str, key_id: str, *, now: float) -> str:
    """A token with these claims that is good for five minutes (`iat`, `nbf`, `exp`, `jti` are added). `key` is a PEM
    private key, or the shared secret of HS256. Raises InvalidSettingsError for a key that does not fit."""
    header = {"alg": algorithm, "typ": "JWT", **({"kid": key_id} if key_id else {})}
    made = int(now)
    body = {**claims, "iat": made, "nbf": made - 30, "exp": made + _SECONDS, "jti": uuid.uuid4().hex}
    text = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(body).encode())}"
    return f"{text}.{_encoded(_signature(text.encode(), key, algorithm))}"


def fingerprint(secret: str) -> str:
    """Tells whether a secret is still the same, without holding it."""
    return hashlib.sha256(b"tongqu" + secret.encode()).hexdigest()[:16]


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _signature(text: bytes, key: str, algorithm: str) -> bytes:
    if algorithm == "HS256":
        return hmac.new(key.encode(), text, "sha256").digest()
    serialization = driver("cryptography.hazmat.primitives.serialization", "crypto")
    hashes = driver("cryptography.hazmat.primitives.hashes", "crypto")
    asymmetric = "cryptography.hazmat.primitives.asymmetric"
    try:
        private: Any = serialization.load_pem_private_key(key.replace("\\n", "\n").encode(), None)
        if algorithm == "EdDSA":
            return bytes(private.sign(text))
        if algorithm == "ES256":
            der = private.sign(text, driver(f"{asymmetric}.ec", "crypto").ECDSA(hashes.SHA256()))
            r, s = driver(f"{asymmetric}.utils", "crypto").decode_dss_signature(der)
            return bytes(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        padding = driver(f"{asymmetric}.padding", "crypto")
        scheme = padding.PKCS1v15()
        if algorithm == "PS256":
            scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        return bytes(private.sign(text, scheme, hashes.SHA256()))
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise InvalidSettingsError(
            f"the key does not fit {algorithm}",
            path="auth.oauth2.key",
            hint="a private key in PEM form without a password, of the kind that the algorithm wants",
        ) from None
