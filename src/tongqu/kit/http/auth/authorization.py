"""Values of the header `Authorization`."""

from __future__ import annotations

from base64 import b64encode


def basic(user: str, password: str) -> str:
    """The value of `Authorization` for a user and password (RFC 7617, UTF-8)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")
