"""What a secret may be called, and where the key of all of them may lie."""

from __future__ import annotations

import re

from tongqu.core.errors import SecretError

VARIABLE, FILE_VARIABLE = "TONGQU_SECRET_KEY", "TONGQU_SECRET_KEY_FILE"
RESERVED = frozenset({VARIABLE, FILE_VARIABLE})
"""Variables that no reference may read: they hold or name the key of all secrets."""

_NAME = re.compile(r"(?!\.)[\w.-]{1,200}")


def named(name: str, path: str = "") -> str:
    """The name if it may be one of a secret; raises SecretError."""
    if not _NAME.fullmatch(name):
        raise SecretError(f"{name!r} is not a name of a secret", path=path, hint="letters, digits, _ - and . only")
    return name
