"""Passwords: which are good enough by the profile, and how they are hashed (argon2id, RFC 9106)."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from threading import BoundedSemaphore
from typing import Any

LONGEST = 256
"""Characters of a password that is looked at."""
EXPIRE_SECONDS = 90 * 86_400.0
"""How long a password is good with the profile `mlps`."""
REMEMBERED = 5
"""Old passwords that may not be used again with the profile `mlps`."""

_STEMS = frozenset(
    re.findall(
        r"\w+",
        "password passwd passw admin administrator root user guest login welcome letmein access secret master system "
        "manager operator service test demo changeme default tongqu oracle postgres mysql sqlserver server company "
        "iloveyou monkey dragon football baseball sunshine princess shadow superman batman freedom summer winter "
        "spring autumn monday january china beijing shanghai woaini zhongguo mima guanli",
    )
)
"""What most passwords of breaches are built around, with digits and signs before or after."""
_WALKS = ("1234567890", "0987654321", "qwertyuiop", "asdfghjkl", "zxcvbnm", "abcdefghijklmnopqrstuvwxyz",
          "1qaz2wsx3edc4rfv5tgb", "qazwsxedcrfv", "qweasdzxc", "!@#$%^&*()")  # fmt: skip
_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_HASHING = BoundedSemaphore(4)
"""Each hash takes 19 MiB: guesses may not take the machine's memory."""


def weakness(password: str, name: str, profile: str) -> str:
    """Why a password is not good enough, in words; empty if it is.

    `asvs`: 12 characters or more, no rule of composition, none that is guessed first (OWASP ASVS 5.0 §6.2). `mlps`:
    8 or more with three of: small letters, capitals, digits, others (等保2.0 8.1.4.1 a), and not guessed first either.
    """
    text = unicodedata.normalize("NFC", password)
    least = 8 if profile == "mlps" else 12
    if len(text) < least:
        return f"a password has at least {least} characters"
    if len(text) > LONGEST:
        return f"a password has at most {LONGEST} characters"
    if profile == "mlps" and sum(bool(re.search(kind, text)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[\W_]")) < 3:
        return "a password has three of: small letters, capitals, digits, other characters"
    if _guessed_first(text.lower(), name.lower()):
        return "this password is one of those that are guessed first"
    return ""


def hashed(password: str) -> str:
    """The argon2id hash of a password, with its own salt and parameters."""
    with _HASHING:
        made: str = _hasher().hash(unicodedata.normalize("NFC", password))
    return made


def matches(hash: str, password: str) -> bool:
    """Whether a password has this hash. An empty hash takes the same time and matches nothing."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > LONGEST:
        return False
    with _HASHING:
        try:
            _hasher().verify(hash or _nobodys(), unicodedata.normalize("NFC", password))
        except (VerificationError, InvalidHashError):
            return False
    return bool(hash)


@cache
def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _nobodys() -> str:
    made: str = _hasher().hash("nobody has this password")
    return made


def _guessed_first(text: str, name: str) -> bool:
    """What is left without the parts a guesser tries first (stems, walks over the keyboard, repeats, years, the name)
    is too short to be a secret."""
    for left in {text, text.translate(_LEET)}:
        rest = left
        for stem in sorted({*_STEMS, *filter(lambda part: len(part) > 2, re.split(r"[\W_]", name))}, key=len)[::-1]:
            rest = rest.replace(stem, "\0")
        for walk in _WALKS:
            for size in range(len(walk), 3, -1):
                for start in range(len(walk) - size + 1):
                    rest = rest.replace(walk[start : start + size], "\0")
        rest = re.sub(r"(.)\1{2,}", "\0", re.sub(r"(?:19|20)\d\d", "\0", rest))
        if len(set(rest) - {"\0"}) < 5:
            return True
    return False
