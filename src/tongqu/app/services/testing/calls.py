"""Runs the cases of operations: makes the calls over HTTP and says what came of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import quote

from tongqu.app.services.testing.disturbing import disturbed
from tongqu.app.services.testing.targets import Target
from tongqu.catalog.cases.entries import CaseEntry, CaseFile
from tongqu.catalog.cases.exchanges import answer_for
from tongqu.catalog.cases.fitting import violations
from tongqu.catalog.cases.judging import Outcome
from tongqu.core.errors import CancelledError, TongquError
from tongqu.core.settings import Secret
from tongqu.kit.http.auth_settings import Auth
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.openapi.document import Document, Operation
from tongqu.kit.openapi.lists import records_of
from tongqu.kit.openapi.schemas import flat

_HOLE = re.compile(r"\{([^}]+)\}")
_PARSED = 16 << 20
_WRONG = "tongqu-no-such-credentials"


def holes(case: CaseEntry, file: CaseFile, target: Target) -> tuple[dict[str, str], list[str]]:
    """The values of the braces in a case's path, and those that nobody gives."""
    names = _HOLE.findall(case.request.path)
    given = {**file.values, **case.request.values}
    if target.pretend is not None:
        given = {**target.pretend.values(case.request.path), **given}
    values = {name: _text(given[name]) for name in names if name in given and given[name] is not None}
    return values, [name for name in names if name not in values]


class Calls:
    """The calls of one target's cases. Each case has the client that its credentials and network need; nothing comes
    from a cache, and calls are not repeated, so that what is judged is what the system answered.

    `id` makes idempotency keys of this run, and no other, of it.
    """

    def __init__(
        self, target: Target, settings: HttpSettings, *, stop: Event, id: str, clock: Callable[[], float] = monotonic
    ):
        self._target = target
        self._settings = tested(settings)
        self._stop = stop
        self._id = id
        self._clock = clock
        self._clients: dict[str, Http] = {}
        self._operations: dict[str, Operation] = {}
        if target.document is not None:
            self._operations = {one.label: one for one in target.document.operations()}

    def outcomes(self, case: CaseEntry, file: CaseFile) -> tuple[list[Outcome], dict[str, Any]]:
        """What came of a case, and the evidence: the request and the last answer as they were, secrets included.
        Raises CancelledError."""
        with self._client(case) as http:
            call = self._call(http, case, file)
            found: list[Outcome] = []
            last = b""
            for number in range(case.request.times):
                key = self._key(case, file, 0 if case.request.same_key else number)
                outcome, last = self._one(http, replace(call, key=key), file.operation)
                found.append(outcome)
        evidence = {
            "method": call.method,
            "url": call.url,
            "query": [list(pair) for pair in call.params],
            "body": call.body,
            "status": found[-1].status,
            "error": found[-1].error,
            "answer": last,
        }
        return found, evidence

    def close(self) -> None:
        """Close the clients; may be called twice."""
        for one in self._clients.values():
            one.close()
        self._clients.clear()

    def _key(self, case: CaseEntry, file: CaseFile, number: int) -> str:
        if not case.request.changes:
            return ""
        text = f"{self._id}/{file.connection}/{file.operation}/{case.id}/{number}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @contextmanager
    def _client(self, case: CaseEntry) -> Iterator[Http]:
        if case.request.network is not None:
            with disturbed(quick(self._settings), case.request.network) as settings:
                if not isinstance(settings, HttpSettings):
                    raise TypeError(type(settings).__name__)
                http = Http(settings)
                try:
                    yield http
                finally:
                    http.close()
            return
        kind = case.request.credentials
        if kind not in self._clients:
            settings = self._settings if kind != "wrong" else wronged(self._settings)
            self._clients[kind] = Http(settings)
        yield self._clients[kind]

    def _call(self, http: Http, case: CaseEntry, file: CaseFile) -> Call:
        request = case.request
        values, _ = holes(case, file, self._target)
        path = _HOLE.sub(lambda found: quote(values.get(found[1], found[0]), safe=""), request.path)
        headers = dict(request.headers)
        body = request.text.encode()
        if request.has_body:
            body = json.dumps(request.body, ensure_ascii=False).encode()
            headers.setdefault("Content-Type", "application/json")
        return Call(
            request.method, http.url(path), tuple(_pairs(request.query)), headers, body,
            repeat=Repeat.NEVER if request.changes else Repeat.SAFE, anonymous=request.credentials == "none",
            stop=self._stop,
        )  # fmt: skip

    def _one(self, http: Http, call: Call, operation: str) -> tuple[Outcome, bytes]:
        begun = self._clock()
        try:
            reply = http.send(call)
        except CancelledError:
            raise
        except TongquError as error:
            content: bytes = getattr(error, "answer", b"")
            status: int = getattr(error, "status", 0)
            made = Outcome(status, error.code, self._clock() - begun, digest=_digest(content))
            return made, content or error.message.encode()
        found = self._operations.get(operation)
        rows: int | None = None
        wrong: list[tuple[str, str]] = []
        if found is not None and self._target.document is not None:
            rows, wrong = looked_at(self._target.document, found, reply.status, reply.content)
        seconds = self._clock() - begun
        return Outcome(
            reply.status, "", seconds, rows, wrong=tuple(wrong), digest=_digest(reply.content)
        ), reply.content


def looked_at(
    document: Document, operation: Operation, status: int, content: bytes
) -> tuple[int | None, list[tuple[str, str]]]:
    """The number of records in an answer (None if it is no list), and where it is not as described."""
    described, schema = answer_for(document, operation, status)
    if not described:
        return None, [(".", "status")]
    if schema is None or len(content) > _PARSED:
        return None, []
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None, [(".", "json")]
    found = records_of(document, flat(document, schema))
    here: Any = value
    for name in found[0] if found is not None else ():
        here = here.get(name) if isinstance(here, Mapping) else None
    rows = len(here) if found is not None and isinstance(here, list) else None
    return rows, violations(document, value, schema, answer=True)


def tested(settings: HttpSettings) -> HttpSettings:
    """The settings of a connection without repeats, waits for limits, cache and rest."""
    retry = settings.retry.model_copy(update={"attempts": 1, "rest_failures": 0})
    limits = settings.limits.model_copy(update={"patience_seconds": 0.0})
    return settings.model_copy(update={"retry": retry, "limits": limits, "cache": None})


def quick(settings: HttpSettings) -> HttpSettings:
    """The settings with two attempts and short limits of time, for a network that does not work."""
    timeouts = settings.timeouts.model_copy(update={"connect_seconds": 2.0, "read_seconds": 2.0, "call_seconds": 8.0})
    retry = settings.retry.model_copy(update={"attempts": 2, "first_seconds": 0.05, "rest_failures": 0})
    return settings.model_copy(update={"timeouts": timeouts, "retry": retry, "cache": None})


def wronged(settings: HttpSettings) -> HttpSettings:
    """The settings with credentials that are not valid: of a user that does not exist, so that nobody is locked out."""
    auth = settings.auth
    if auth is not None and auth.api_key is not None:
        wrong = Auth(api_key=auth.api_key.model_copy(update={"value": Secret(_WRONG)}))
    elif auth is not None and auth.basic is not None:
        wrong = Auth.model_validate({"basic": {"user": _WRONG, "password": _WRONG}})
    else:
        wrong = Auth.model_validate({"bearer": _WRONG})
    return settings.model_copy(update={"auth": wrong})


def _pairs(query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        if value is None:
            continue
        for one in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            yield name, _text(one)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
