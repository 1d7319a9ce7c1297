"""Keeps secrets out of everything that is shown: every secret this process has seen is replaced by `***`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from threading import Lock
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from tongqu.store.literal import LITERAL, QUERY, literal_passwords

_TOKEN = re.compile(
    r"(?P<name>[?&](?:access_token|refresh_token|id_token|api_?key|client_secret|app_?secret|corp_?secret|signature|sign)=)"
    r"(?P<password>[^&\s#]{8,})",
    re.IGNORECASE,
)
"""Parameters of calls that a system may echo in its errors: nobody here knows the tokens that it gave meanwhile."""
_HEADER = re.compile(r"(?P<name>\b(?:Basic|Bearer)\s+)(?P<password>[A-Za-z0-9+/=._~-]{16,})")
HIDDEN = "***"
"""What stands where a secret did."""
_SHORT = 8
_LINE = 16
"""Characters from which a single line of a secret (of a private key) is one itself."""


class Scrubber:
    """Knows the secrets of this process; safe for several threads.

    A secret is also found percent-encoded or decoded, in base64 (at any place of a longer text, such as the user and
    password of an `Authorization` header), in hex, escaped for JSON, Python, HTML and XML, and by its lines. Secrets
    shorter than eight characters are replaced only as whole words.
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._ordered: tuple[str, ...] = ()
        self._lock = Lock()

    def add(self, secret: str) -> None:
        """Never show this value again, in no form."""
        with self._lock:
            new = {value for value in (secret, unquote(secret)) if value.strip()} - self._secrets
            if new:
                self._secrets |= {form for value in new for form in (value, *_forms(value))}
                self._ordered = tuple(sorted(self._secrets, key=len, reverse=True))

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
        for secret in self._ordered:
            if len(secret) >= _SHORT:
                text = text.replace(secret, HIDDEN)
            elif secret in text:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
        return _TOKEN.sub(_masked, _HEADER.sub(_masked, QUERY.sub(_masked, LITERAL.sub(_masked, text))))

    def deep(self, value: Any) -> Any:
        """The value with every text in it (also in mappings and lists) cleaned; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.deep(inner) for key, inner in value.items()}
        return [self.deep(inner) for inner in value] if isinstance(value, list | tuple) else value

    def problem(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        """The problem with clean `path`, `message` and `hint`; its code stays."""
        return {k: v if k in {"code", "level"} else self.deep(v) for k, v in problem.items()}


def _masked(found: re.Match[str]) -> str:
    if found["password"].startswith("${"):
        return found[0]
    if found.re is not LITERAL:
        return f"{found['name']}***"
    return f"{found['scheme']}{found['user']}:***@"


def _forms(secret: str) -> Iterator[str]:
    """How a secret looks where it was written by somebody else; forms that are too short to be told are left out."""
    raw = secret.encode("utf-8", "surrogateescape")
    forms = [quote(secret, errors="replace"), quote(secret, safe="", errors="replace")]
    forms += [quote_plus(secret, errors="replace"), escape(secret)]
    forms += [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]]
    forms += [form.lower() for form in forms[:3] if "%" in form]
    forms += [line.strip() for line in secret.splitlines() if len(line.strip()) >= _LINE] if "\n" in secret else []
    yield from (form for form in forms if form != secret)
    if len(raw) >= _SHORT:
        yield raw.hex()
        yield raw.hex().upper()
        yield from _base64(raw)


def _base64(raw: bytes) -> Iterator[str]:
    """The characters of base64 that are the same wherever the bytes stand: for each place in a group of three bytes,
    without the characters that also hold bits of what stands before or behind."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).rstrip(b"=").decode()
        start, bits = -(-before * 8 // 6), (before + len(raw)) * 8
        inner = text[start : bits // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


known = Scrubber()
"""The secrets this process has seen."""
