"""The second factor: codes by time (TOTP, RFC 6238: SHA-1, 6 digits, 30 seconds), each good once."""

from __future__ import annotations

import hmac
import re

from tongqu.store.identity.users import Users

_STEP = 30


def enrolled(users: Users, name: str) -> tuple[str, str]:
    """A new secret for a person and the `otpauth:` address of its picture; it counts once a code confirmed it."""
    import pyotp

    secret = pyotp.random_base32()
    users.set_totp(name, secret)
    return secret, pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Tongqu")


def spent(users: Users, name: str, code: str, now: float) -> bool:
    """Whether the code is right now, or was in the step before or will be in the next, and was never used."""
    import pyotp

    secret = users.totp(name)
    if not secret or not re.fullmatch(r"[0-9]{6}", code):
        return False
    totp = pyotp.TOTP(secret)
    current = int(now) // _STEP
    right = [step for step in (current - 1, current, current + 1)
             if hmac.compare_digest(totp.generate_otp(step), code)]  # fmt: skip
    return bool(right) and users.spend_totp(name, right[0])
