"""One request of the management API: who may, what it may rest on, what is written down, and the answer."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tongqu.app.http.children import Children
from tongqu.app.http.duties import Duties
from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.app.http.refusing import refused
from tongqu.app.http.rights import Right, rights_of, too_many_duties
from tongqu.app.http.table import OPERATIONS
from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway.auth.identify import COOKIE
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.health import OWNER
from tongqu.gateway.problems import Problem
from tongqu.store.versions import Person

if TYPE_CHECKING:
    from tongqu.app.services.managed import Managed
    from tongqu.app.wire import Wire

OPERATOR = "tongqu-operator"
"""The header in which the owner's command line says whose hands are on it: `account/name`."""
ENVIRONMENT = "tongqu-env"
"""The header that names the environment that is meant; a gateway of another one refuses."""
CSRF = "x-csrf-token"
SCOPE = "manage"
"""The scope that a limited token needs."""
_PASSING = ("used", "reviewed", "locked", "messages", "waiting", "dead", "done", "held_until")
"""Members of a document that change without anybody changing it."""

_LONGEST_NAME = 200


class Face:
    """Answers operations of one serving process. `wire` makes the parts for one request."""

    def __init__(self, wire: Callable[[], Wire], managed: Managed):
        self.managed = managed
        self.children = Children()
        self._wire = wire
        self._lock = Lock()

    def close(self) -> None:
        """Ask the runs that were started from here to stop."""
        self.children.close()

    # who

    def known(self, request: Request) -> frozenset[Right]:
        """Make the owner of the home known by the token of `serve.json`, and give what the caller may."""
        token = request.headers.get(OWNER, "")
        if token and self.managed.token and hmac.compare_digest(token.encode(), self.managed.token.encode()):
            name = unquote(request.headers.get(OPERATOR, "unknown"))[:_LONGEST_NAME]
            request.actor = Actor(f"operator:{name}", "user", address=request.address)
            identity = self.managed.identity
            return Duties(identity.identities, identity.access.settings).rights(name.partition("/")[0])
        actor = request.actor
        if not actor.known or actor.sandbox:
            return frozenset()
        if self.managed.identity.access.settings.apart and too_many_duties(actor.roles):
            raise Problem("auth.duties")
        if actor.scopes and SCOPE not in actor.scopes:
            raise Problem("auth.scope")
        return rights_of(actor.roles)

    def judge(self, request: Request, right: Right) -> None:
        """Raises Problem unless the caller has the right; a change by a session needs its CSRF token."""
        rights = self.known(request)
        if not request.actor.known:
            raise Problem("auth.missing")
        if right not in rights:
            raise Problem("access.denied")
        if request.method not in ("GET", "HEAD") and (session := session_of(request)):
            given = request.headers.get(CSRF, "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), self.csrf(session).encode()):
                raise Problem("auth.csrf")

    def csrf(self, session: str) -> str:
        """The token that changes of this session must carry in `x-csrf-token`."""
        return base64.urlsafe_b64encode(hmac.digest(self.managed.key, session.encode(), "sha256")[:24]).decode()

    def asked(self, request: Request) -> Asked:
        """Who asks, with fresh parts; raises Problem where another environment is meant."""
        wire = self._wire()
        if request.headers.get(ENVIRONMENT, wire.env) != wire.env:
            raise Problem("body.invalid", f"this gateway serves the environment {wire.env or 'without a name'}")
        who = request.actor.id
        account, _, name = who.removeprefix("operator:").partition("/")
        person = Person(name or account, account) if who.startswith("operator:") else Person(who, who)
        return Asked(wire, lambda: (person, who), self.managed, self.children)

    # what

    async def answer(self, operation: Operation, request: Request, given: Given) -> Reply:
        """The answer to somebody who was judged; every error of the services becomes a problem document."""
        request.notes.action = operation.name
        asked = self.asked(request)
        try:
            document, tag = await asyncio.to_thread(self._done, operation, asked, request, given)
        except TongquError as error:
            return refused(error, request)
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        if tag:
            headers.append(("etag", tag))
            if not operation.changes and tag in _tags(request.headers.get("if-none-match", "")):
                return Reply(304, headers)
        return Reply(operation.status, headers, json.dumps(document, ensure_ascii=False, default=str).encode())

    def _done(
        self, operation: Operation, asked: Asked, request: Request, given: Given
    ) -> tuple[Mapping[str, Any], str]:
        if not operation.changes:
            document = operation.do(asked, given)
            return document, etag(document)
        if not operation.lock:
            with self._noted(operation, asked, request, given):
                return operation.do(asked, given), ""
        shown = OPERATIONS[operation.lock]
        which = shown.given.parse({name: getattr(given, name) for name in shown.places})
        with self._alone(asked.wire.home.path):
            with self._noted(operation, asked, request, given) as told:
                self._unchanged(request, lambda: etag(shown.do(asked, which)), told)
                document = operation.do(asked, given)
            return document, "" if operation.method == "DELETE" else etag(shown.do(asked, which))

    @contextmanager
    def _noted(self, operation: Operation, asked: Asked, request: Request, given: Given) -> Iterator[dict[str, Any]]:
        """Between two records of the audit trail; where the first cannot be written nothing is done, and where the
        second cannot be, nobody is told that it was."""
        options = asked.wire.scrubber.deep(operation.options(given))
        more = {"options": options} if options else {}
        on = asked.wire.scrubber.text(operation.on(given))
        where = {"address": request.address, "request": request.id}
        with self.managed.trail.action(asked.who, operation.name, on, **more, **where) as told:
            yield told

    @staticmethod
    def _unchanged(request: Request, tag: Callable[[], str], told: dict[str, Any]) -> None:
        """Raises Problem unless If-Match names what is there now (`*`: whatever it is)."""
        given = _tags(request.headers.get("if-match", ""))
        if not given:
            told["refused"] = "resource.unconditional"
            raise Problem("resource.unconditional")
        now = tag()
        if "*" not in given and now not in given:
            told["refused"] = "resource.changed"
            raise Problem("resource.changed", headers=[("etag", now)])

    @contextmanager
    def _alone(self, home: Path) -> Iterator[None]:
        """One change after another, in all processes of the home."""
        with self._lock:
            handle = os.open(home / "manage.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)


def session_of(request: Request) -> str:
    """The session's token, where the caller is known by nothing else."""
    headers = request.headers
    if request.actor.kind != "user" or any(name in headers for name in ("authorization", "x-api-key", OWNER)):
        return ""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def etag(document: Mapping[str, Any]) -> str:
    """The strong ETag of a document: a digest of all that somebody may have changed."""
    text = json.dumps(_lasting(document), sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _lasting(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lasting(inner) for key, inner in value.items() if key not in _PASSING}
    return [_lasting(inner) for inner in value] if isinstance(value, list | tuple) else value


def _tags(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",") if tag.strip()]
