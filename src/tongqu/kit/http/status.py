"""What an answer's status means: an answer, or one of the errors of `tongqu.core.errors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
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

_SAID = ("detail", "title", "error_description", "message", "errmsg", "msg", "error", "errorMessage", "reason")
_KEPT = 64 * 1024
_SHOWN = 300
_SHORT = 20
TOO_MANY = (408, 425, 429)
"""Answers that say the call was not processed and may be made again later."""


def refusal(status: int, headers: Mapping[str, str], content: bytes, what: str) -> ConnectorError:
    """The error that a status other than 2xx is; `what` says which call it was, without parameters."""
    kind: type[ConnectorError] = CallRefusedError
    if status >= 500:
        kind = PeerFailedError
    elif status in TOO_MANY:
        kind = RateLimitedError
    else:
        kind = {401: AuthError, 403: PrivilegeError, 404: NotFoundError, 410: NotFoundError}.get(status, kind)
    hint = said(headers, content)
    if 300 <= status < 400:
        hint = "this redirect is not followed; correct the address"
    elif status == 401 and not hint and (scheme := headers.get("www-authenticate", "").split(" ")[0]):
        hint = f"the system asks for {scheme[:_SHORT]}"
    error = kind(f"{what} was answered with status {status}", hint=hint, params={"status": status})
    error.status = status
    error.answer = content[:_KEPT]
    return error


def said(headers: Mapping[str, str], content: bytes) -> str:
    """What the peer says about its error, if it says it in JSON (RFC 9457 and what is used besides); else nothing."""
    if "json" not in headers.get("content-type", "") and content[:1] != b"{":
        return ""
    try:
        body: Any = json.loads(content[:_KEPT])
    except (ValueError, RecursionError):
        return ""
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if not isinstance(body, dict):
        return ""
    words = [str(body[name]) for name in _SAID if isinstance(body.get(name), str) and body[name].strip()]
    text = " ".join(dict.fromkeys(words))
    return "the system says: " + "".join(c if c.isprintable() else " " for c in text)[:_SHOWN] if text else ""
