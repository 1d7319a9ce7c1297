"""How the gateway says that credentials are not good: always the same words, whatever was wrong with them."""

from __future__ import annotations

from tongqu.gateway.problems import Kind, Problem, declare

declare(
    {
        "auth.purpose": Kind(403, "data may not be used for this purpose", "不允许将数据用于该用途"),
        "auth.ambiguous": Kind(400, "more than one kind of credentials was given", "同时提供了多种凭证"),
    }
)

_CHALLENGE = "www-authenticate"


def invalid() -> Problem:
    """Credentials are not good; nothing tells an attacker which part."""
    return Problem("auth.invalid", headers=[(_CHALLENGE, 'Bearer error="invalid_token"')])


def expired() -> Problem:
    """A token that was good."""
    told = 'Bearer error="invalid_token", error_description="expired"'
    return Problem("auth.expired", hint="ask for a new token", headers=[(_CHALLENGE, told)])


def missing() -> Problem:
    """There are no credentials and some are needed."""
    return Problem("auth.missing", headers=[(_CHALLENGE, "Bearer")])
