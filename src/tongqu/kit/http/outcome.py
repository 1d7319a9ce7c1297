"""What an API says in the body about how a call went, where the status line does not say it: `{"errcode": 88, …}`."""

from __future__ import annotations

import re
from typing import Any

from tongqu.core.errors import (
    AuthError,
    CallRefusedError,
    ConnectorError,
    NotFoundError,
    PeerFailedError,
    PrivilegeError,
    RateLimitedError,
)
from tongqu.kit.http.auth.token_call import at, parsed
from tongqu.kit.http.settings import Codes, Outcome

_SMALL = 256 * 1024
"""Answers up to this size are read whole; of larger ones the values before the first list and after the last."""
_PAIR = rb'\s*"(?:[^"\\]|\\.)*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[^\s"{}\[\],]+)\s*'
_BEFORE = re.compile(rb"\s*\{(?:" + _PAIR + rb",)*")
_AFTER = re.compile(rb"[\]}]\s*,(" + _PAIR + rb"(?:," + _PAIR + rb")*)\}\s*$")
_SHOWN = 300
_KEPT = 64 * 1024


def judged(rules: Outcome, content: bytes, what: str) -> ConnectorError | None:
    """The error that an answer's code means; None for success and for an answer without a code. `what` says which
    call it was, without parameters."""
    body = _envelope(content, rules)
    code = at(body, rules.code)
    if code is None or _among(code, rules.ok):
        return None
    kind, status = _kind(rules, code)
    said = at(body, rules.message)
    text = "".join(c if c.isprintable() else " " for c in str(said))[:_SHOWN] if said else ""
    error = kind(
        f"{what} was answered with code {code}",
        hint=f"the system says: {text}" if text else "",
        params={"status": code},
    )
    error.status, error.answer = status, content[:_KEPT]
    return error


def _kind(rules: Outcome, code: Any) -> tuple[type[ConnectorError], int]:
    """The error of a code, and the status of HTTP that means the same."""
    known: tuple[tuple[Codes, type[ConnectorError], int], ...] = (
        (rules.auth, AuthError, 401),
        (rules.denied, PrivilegeError, 403),
        (rules.limited, RateLimitedError, 429),
        (rules.again, PeerFailedError, 503),
        (rules.missing, NotFoundError, 404),
    )
    return next(((kind, status) for codes, kind, status in known if _among(code, codes)), (CallRefusedError, 400))


def _among(code: Any, codes: Codes) -> bool:
    return str(code).lower() in {str(one).lower() for one in codes}


def _envelope(content: bytes, rules: Outcome) -> Any:
    """The answer's outermost object. Of a large one, whose records would take long to read, only single values that
    stand before its first and after its last nested value."""
    if len(content) <= _SMALL:
        return parsed(content)
    found = _BEFORE.match(content[:_KEPT])
    body = parsed(found[0].rstrip().rstrip(b",") + b"}") if found else None
    if at(body, rules.code) is None:
        found = _AFTER.search(content[-_KEPT:])
        body = parsed(b"{" + found[1] + b"}") if found else body
    return body
