"""Keeps secrets out of everything that is shown: every secret this process has seen is replaced by `***`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

_LITERAL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:/?#@]*):(?P<password>[^\s/?#]*)@")
_UNENCODED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^:/?#@]*:(?!\d+[/?#])(?P<password>.+)@", re.DOTALL)
"""A whole URL whose password holds `/ ? #` or a space that should have been percent-encoded."""
_QUERY = re.compile(
    r"(?P<name>[?&](?:password|passwd|pwd|secret|token|sas|access_key|secret_key)=)(?P<password>[^&\s#]+)"
)
_SHORT = 8
_TELLING = 4


class Scrubber:
    """Knows the secrets of this process. Secrets shorter than eight characters are replaced only as whole words."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def add(self, secret: str) -> None:
        """Never show this value again, neither raw nor percent-decoded."""
        self._secrets |= {value for value in (secret, unquote(secret)) if value.strip()}

    def add_url(self, url: str) -> None:
        """Never show the passwords of this URL again."""
        for password in literal_passwords(url):
            self.add(password)

    def add_settings(self, settings: object) -> None:
        """Never show any `SecretStr` in these settings again."""
        fields = getattr(type(settings), "model_fields", None)
        if hasattr(settings, "get_secret_value"):
            self.add(str(settings.get_secret_value()))
        elif fields is not None:
            for name in fields:
                self.add_settings(getattr(settings, name))
        elif isinstance(settings, Mapping):
            for value in settings.values():
                self.add_settings(value)
        elif isinstance(settings, list | tuple):
            for value in settings:
                self.add_settings(value)

    def text(self, text: str) -> str:
        """The text without secrets; a password in any URL is replaced even if it was never added."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= _SHORT:
                text = text.replace(secret, "***")
            elif secret in text:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return _QUERY.sub(_masked, _LITERAL.sub(_masked, text))

    def problem(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        """The problem with clean `path`, `message` and `hint`; its code stays."""
        return {k: self.text(v) if isinstance(v, str) and k not in {"code", "level"} else v for k, v in problem.items()}


def _masked(found: re.Match[str]) -> str:
    if found["password"].startswith("${"):
        return found[0]
    if found.re is _QUERY:
        return f"{found['name']}***"
    return f"{found['scheme']}{found['user']}:***@"


known = Scrubber()
"""The secrets this process has seen."""


def literal_passwords(url: str) -> list[str]:
    """The passwords written in a URL, before the host or as a parameter, as they stand there; references are none.

    Of a password that should have been percent-encoded also the part that a parser takes for something else.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        return []
    found = [match["password"] for pattern in (_LITERAL, _QUERY) for match in pattern.finditer(url)]
    unencoded = None if _LITERAL.match(url) else _UNENCODED.match(url)
    if unencoded:
        first = re.split(r"[/?#\s]", unencoded["password"])[0]
        found += [unencoded["password"], *([first] if len(first) >= _TELLING else [])]
    return [password for password in found if password and "${" not in password]
