"""The tokens of a hub: who may be an agent and who may use agents; only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.kit import lasting

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Role(StrEnum):
    """What a token is good for."""

    AGENT = "agent"
    """To be the agent of the token's name."""
    USE = "use"
    """To open connections through any agent of the hub."""


class Tokens:
    """The file of a hub's tokens, read anew for each question, so that a removed token ends at the next login.

    A token is 32 random bytes, so its plain SHA-256 cannot be guessed back.
    """

    def __init__(self, path: Path):
        self._path = path

    def add(self, name: str, role: Role) -> str:
        """A new token of that name, shown this once; it replaces an older one. Raises InvalidSettingsError for a name
        that is none."""
        if not _NAME.fullmatch(name):
            raise InvalidSettingsError(
                f"{name!r} is no name for an agent", path="NAME", hint="letters, digits, dots, dashes, underscores"
            )
        token = secrets.token_urlsafe(32)
        self._write({**self._read(), name: {"role": role.value, "hash": _hash(token)}})
        return token

    def remove(self, name: str) -> None:
        """End a token; raises UnknownNameError."""
        kept = self._read()
        if name not in kept:
            valid = ", ".join(sorted(kept)) or "none"
            raise UnknownNameError(f"no token is called {name!r}", path="NAME", hint=f"there are: {valid}")
        self._write({other: entry for other, entry in kept.items() if other != name})

    def roles(self) -> dict[str, Role]:
        """The names with what they are good for."""
        return {name: Role(entry["role"]) for name, entry in sorted(self._read().items())}

    def is_agent(self, name: str, token: str) -> bool:
        """Whether this is the token of the agent of that name."""
        entry = self._read().get(name)
        return entry is not None and entry["role"] == Role.AGENT and _same(entry, token)

    def may_use(self, token: str) -> bool:
        """Whether this is a token for using agents."""
        return any(entry["role"] == Role.USE and _same(entry, token) for entry in self._read().values())

    def _read(self) -> dict[str, Mapping[str, str]]:
        try:
            found: dict[str, Mapping[str, str]] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _write(self, entries: Mapping[str, Mapping[str, str]]) -> None:
        private_file(self._path, json.dumps(entries, indent=1, sort_keys=True))


def private_file(path: Path, text: str) -> None:
    """Write a file that only its owner may read (0600), whole or not at all."""
    lasting.make_folder(path.parent)
    lasting.put(path, text.encode(), 0o600)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _same(entry: Mapping[str, str], token: str) -> bool:
    return hmac.compare_digest(entry["hash"], _hash(token))
