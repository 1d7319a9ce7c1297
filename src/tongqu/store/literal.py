"""Finds passwords that are written in a URL; loads nothing else, so that it can be asked before anything is loaded."""

from __future__ import annotations

import re

LITERAL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:/?#@]*):(?P<password>[^\s/?#]*)@")
"""A password before the host."""
QUERY = re.compile(
    r"(?P<name>[?&#](?:(?:[\w.]*\.)?(?:pgp_|key_|session_)?"
    r"(?:password|passwd|pwd|secret|token|sas|access_key|secret_key)|key(?==-----BEGIN))=)(?P<password>[^&\s#]+)"
)
"""A secret among the parameters."""
_UNENCODED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^:/?#@]*:(?!\d+[/?#])(?P<password>.+)@", re.DOTALL)
"""A whole URL whose password holds `/ ? #` or a space that should have been percent-encoded."""
_TELLING = 4


def literal_passwords(url: str) -> list[str]:
    """The passwords written in a URL, before the host or as a parameter, as they stand there; references are none.

    Of a password that should have been percent-encoded also the part that a parser takes for something else.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        return []
    found = [match["password"] for pattern in (LITERAL, QUERY) for match in pattern.finditer(url)]
    unencoded = None if LITERAL.match(url) else _UNENCODED.match(url)
    if unencoded:
        first = re.split(r"[/?#\s]", unencoded["password"])[0]
        found += [unencoded["password"], *([first] if len(first) >= _TELLING else [])]
    return [password for password in found if password and "${" not in password]
