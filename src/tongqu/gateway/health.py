"""`/healthz` and `/readyz`: whether the process lives, and whether it can answer."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.problems import Problem

OWNER = "tongqu-owner"
"""The header that carries the token of `serve.json`: whoever can read that file may see names and problems."""


class Health:
    """Answers `/healthz` (the process lives) and `/readyz` (503 while nothing can be answered). `state` gives `ready`
    and what the owner may see; everybody else sees only whether it is ready, and counts."""

    def __init__(self, state: Callable[[], Mapping[str, Any]], token: str = ""):
        self._state = state
        self._token = token

    async def handle(self, request: Request) -> Reply:
        """See exchange.Handler."""
        if request.method not in ("GET", "HEAD"):
            raise Problem("method.refused", headers=[("allow", "GET, HEAD")])
        if request.path == "/healthz":
            return self._reply(request, 200, {"ok": True})
        if request.path != "/readyz":
            raise Problem("path.unknown")
        state = self._state()
        given = request.headers.get(OWNER, "")
        if not (self._token and hmac.compare_digest(given.encode(), self._token.encode())):
            state = {name: state[name] for name in ("ready", "apis", "degraded", "stale")}
        return self._reply(request, 200 if state["ready"] else 503, state)

    @staticmethod
    def _reply(request: Request, status: int, document: Mapping[str, Any]) -> Reply:
        body = b"" if request.method == "HEAD" else orjson.dumps(document, default=str)
        return Reply(status, [("content-type", "application/json")], body)
