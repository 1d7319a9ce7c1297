"""The command line through `/manage`: the server that owns the project, or one that is named, does it and answers."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tongqu.app.http.face import ENVIRONMENT, OPERATOR
from tongqu.app.http.operation import PREFIX, Operation
from tongqu.core.errors import ConnectError, InvalidSettingsError, TongquError, UnknownOutcomeError
from tongqu.gateway.health import OWNER

TOKEN_VARIABLE = "TONGQU_TOKEN"  # noqa: S105  # the name of a variable
SECONDS = 600.0
_CONNECT_SECONDS = 5.0
_NOT_DONE = frozenset(
    {
        "address.refused",
        "api.unknown",
        "auth.missing",
        "body.invalid",
        "body.malformed",
        "limit.exceeded",
        "method.refused",
        "overloaded",
        "path.unknown",
        "request.malformed",
    }
)
"""Refusals that come before anything was done; the owner of the home then does it in this process."""


class NotReachedError(ConnectError):
    """The server did not take the request; nothing was done."""


class ToldError(TongquError):
    """A problem that a server told, with the exit code of the command."""

    def __init__(self, told: Mapping[str, Any], exit_code: int = 1):
        super().__init__(
            str(told.get("message", "")), hint=str(told.get("hint") or ""), path=str(told.get("path", "")),
            params=told.get("params") or {},
        )  # fmt: skip
        self.exit_code = exit_code
        self.problems: list[ToldError] = []
        self._code = str(told.get("code", "internal"))

    def problem(self) -> dict[str, str]:
        """See TongquError."""
        return {**super().problem(), "code": self._code}


@dataclass(frozen=True)
class Server:
    """A gateway that manages for the command line. `own`: it is the one whose `serve.json` was read, so the same can be
    done in this process where it does not answer; its certificate is not looked at: nobody else holds its port."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    own: bool = False

    def do(self, operation: Operation, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its document. Raises InvalidSettingsError for parameters that cannot be, ToldError for what it refuses,
        NotReachedError where nothing was done, UnknownOutcomeError where the line broke after it was sent."""
        operation.given.parse({name: value for name, value in values.items() if value is not None})
        given = {name: value for name, value in values.items() if value not in (None, "", [], (), {})}
        path = PREFIX + operation.path.format(
            **{name: quote(str(given.pop(name)), safe=":") for name in operation.places}
        )
        body = None
        headers = {**self.headers, "accept": "application/json"}
        if operation.method == "GET":
            told = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
            path += f"?{urlencode(told, doseq=True)}" if told else ""
        else:
            body = json.dumps(given, ensure_ascii=False).encode()
            headers |= {"content-type": "application/json"}
            if operation.lock:
                headers["if-match"] = "*"
        status, answer = self._asked(operation.method, path, body, headers)
        if status < 400:
            return answer
        problems = answer.get("problems")
        if answer.get("code") in _NOT_DONE and not problems:
            raise NotReachedError(f"{self.url} refused the command: {answer.get('code')}", hint=_hint(status))
        several = [ToldError(one, int(answer.get("exit", 1))) for one in problems or [answer]]
        first = several[0]
        first.problems = several if len(several) > 1 else []
        raise first

    def _asked(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        line = self._line()
        try:
            line.connect()
        except OSError as error:
            raise NotReachedError(f"{self.url} cannot be reached: {error}", path="--server") from None
        try:
            if line.sock is not None:
                line.sock.settimeout(SECONDS)
            line.request(method, path, body, dict(headers))
            answer = line.getresponse()
            told: dict[str, Any] = json.loads(answer.read() or b"{}")
            return answer.status, told
        except (OSError, HTTPException, ValueError) as error:
            raise UnknownOutcomeError(
                f"{self.url} did not answer as a gateway does: {error}", hint="look whether it was done"
            ) from None
        finally:
            line.close()

    def _line(self) -> HTTPConnection:
        parts = urlsplit(self.url)
        host, port = str(parts.hostname), parts.port
        if parts.scheme != "https":
            return HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
        context = ssl.create_default_context()
        if self.own:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return HTTPSConnection(host, port, timeout=_CONNECT_SECONDS, context=context)


def named(url: str, env: str, environ: Mapping[str, str] = os.environ) -> Server:
    """The server of `--server`, with the token of `$TONGQU_TOKEN`; raises InvalidSettingsError."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise InvalidSettingsError(
            f"{url!r} is no address of a gateway", path="--server", hint="https://… (http only on this machine)"
        )
    token = environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise InvalidSettingsError(
            f"a token is needed in ${TOKEN_VARIABLE}", path="--server", hint="tongqu token issue CLIENT"
        )
    about = {ENVIRONMENT: env} if env else {}
    return Server(url.rstrip("/"), {"authorization": f"Bearer {token}", **about})


def owner(place: Path, folder: Path, env: str) -> Server | None:
    """The server that runs in this home for the same project and environment, if one does."""
    from tongqu.app.services.auditing import operator
    from tongqu.app.services.serve_place import running

    found = running(place)
    if found is None or (found.get("folder"), found.get("env")) != (str(folder.resolve()), env):
        return None
    who = quote(operator().removeprefix("operator:"), safe="/ @.-_")
    return Server(str(found["manage"]), {OWNER: str(found["token"]), OPERATOR: who}, own=True)


def _hint(status: int) -> str:
    return f"is the token good for this, and is it a gateway of this version? (HTTP {status})"
