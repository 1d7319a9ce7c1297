"""What the endpoints of OAuth read and answer: forms in, JSON out, errors by RFC 6749."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tongqu.gateway.exchange import Headers, Reply, Request

LARGEST = 64 * 1024
"""Bytes of a form."""


class OAuthError(Exception):
    """A refusal with a code of RFC 6749 §5.2 or its relatives."""

    def __init__(self, error: str, told: str = "", *, status: int = 400, headers: Headers | None = None):
        super().__init__(f"{error}: {told}")
        self.error = error
        self.told = told
        self.status = status
        self.headers = headers or []


def refused_client() -> OAuthError:
    """The client is not known, or did not prove who it is; always the same."""
    challenge = [("www-authenticate", 'Basic realm="tongqu"')]
    return OAuthError(
        "invalid_client", "the client is not known or did not prove itself", status=401, headers=challenge
    )


async def form(request: Request) -> dict[str, str]:
    """The form of a request; raises OAuthError where a name comes twice (RFC 6749 §3.2) or it is no form."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded")
    try:
        text = (await request.body(LARGEST)).decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise OAuthError("invalid_request", "the form cannot be read") from None
    return once(pairs)


def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Names and values; raises OAuthError where a name comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise OAuthError("invalid_request", "a parameter was given twice")
    return made


def wanted(told: Mapping[str, str], name: str) -> str:
    """A parameter that must be there."""
    if not told.get(name):
        raise OAuthError("invalid_request", f"{name} is missing")
    return told[name]


def answer(document: Mapping[str, Any], *, status: int = 200, keep: str = "no-store", more: Headers = ()) -> Reply:  # type: ignore[assignment]  # an empty default that nobody can change
    """A JSON answer that nobody keeps."""
    headers = [("content-type", "application/json"), ("cache-control", keep), ("pragma", "no-cache"), *more]
    return Reply(status, headers if keep == "no-store" else headers[:2], orjson.dumps(document))


def refusal(error: OAuthError) -> Reply:
    """The answer for a refusal."""
    document = {"error": error.error, **({"error_description": error.told} if error.told else {})}
    return answer(document, status=error.status, more=error.headers)
