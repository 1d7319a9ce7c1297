"""Checks the signature of a request to a mock by making it once more for the same instant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tongqu.kit.http.auth.signature import Signer
from tongqu.kit.http.auth_settings import Signature
from tongqu.kit.http.call import Grant
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.pool import Origin
from tongqu.kit.http.request import Request

_MILLIS = 1e11
"""Numbers above are milliseconds since 1970."""


class _Then(Clock):
    """A clock that stands."""

    def __init__(self, moment: float):
        self._moment = moment

    def now(self) -> float:
        return self._moment


def well_signed(method: str, target: str, body: bytes, told: Mapping[str, Any] | None) -> bool:
    """Whether the query of a request holds what the signature settings put there for the instant that it names; True
    where there are none. For signatures in the query, with seconds or milliseconds as timestamp and without a nonce."""
    if not told:
        return True
    settings = Signature.parse(told)
    parts = urlsplit(target)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    placed = settings.put.query
    moment = next((given.get(name, "") for name, text in placed.items() if text == "{timestamp}"), "")
    if not moment.isdigit():
        return False
    plain = tuple((name, value) for name, value in given.items() if name not in placed)
    request = Request(method, Origin("http", "mock", 80, Grant.OPERATOR), parts.path, "", plain, {}, body)
    seconds = (int(moment) + 0.5) / 1000 if int(moment) > _MILLIS else float(moment)
    return given == dict(Signer(settings, _Then(seconds)).signed(request).pairs())
