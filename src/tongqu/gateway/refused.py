"""Which calls were refused at the door, and which were accepted and failed: audit and metrics count them apart."""

from __future__ import annotations

AT_THE_DOOR = frozenset(
    {"auth.missing", "auth.invalid", "auth.expired", "auth.scope", "access.denied", "api.unknown", "method.refused",
     "accept.unknown", "version.gone", "body.too_large", "uri.too_long", "headers.too_large", "media.unknown",
     "request.malformed", "shield.refused", "address.refused", "limit.exceeded", "overloaded", "path.unknown"}
)  # fmt: skip
"""Codes of what was refused before it was worked on: counted, one of them kept as a sample. Calls that fail later were
accepted, and stand in the trail one by one."""


def at_the_door(reason: str, api: str) -> bool:
    """Whether a call was refused before it was worked on: also if it never came as far as an API."""
    return reason in AT_THE_DOOR or (bool(reason) and not api)
