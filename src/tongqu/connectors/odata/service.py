"""The calls of one OData service: filters, values and pages as the protocol has them, tokens for changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.connectors.odata.model import Model, model
from tongqu.connectors.odata.settings import ODataSettings
from tongqu.connectors.odata.values import Readable, literal
from tongqu.core.errors import AnswerError, ConnectorError, InvalidSettingsError
from tongqu.kit.http.call import Call, Repeat, Reply, Stream
from tongqu.kit.http.client import Http
from tongqu.kit.http.status import refusal

BOUND = "from:"
"""Begins a parameter `from:TYPE:PROPERTY` that is the least value of an incremental read."""
_BARE = re.compile(rb'^\s*\{\s*"d"\s*:\s*\[')
_INNER = re.compile(rb'"[^"@\\]+@(?:odata\.)?nextLink"\s*:')
_TOKEN = "x-csrf-token"  # noqa: S105  # a header's name


class Service(Http):
    """An OData service as an HTTP client: `send` asks in its words, and answers come with plain values."""

    def __init__(self, settings: ODataSettings, folder: Path | None):
        super().__init__(settings, folder=folder)
        self._csrf = settings.csrf == "auto"
        self._file = settings.metadata_file
        self._lock = RLock()
        self._token: str | None = None
        self._model: Model | None = None
        self._readable: Readable | None = None

    @property
    def model(self) -> Model:
        """What the service says of itself; asked for once."""
        with self._lock:
            if self._model is None:
                self._model = self._described()
                self._readable = Readable(self._model)
            return self._model

    def _described(self) -> Model:
        if self._file:
            try:
                return model(Path(self._file).read_bytes(), self._file)
            except OSError as error:
                raise InvalidSettingsError(
                    f"{self._file} cannot be read: {error.strerror}", path="metadata_file",
                    hint="leave it out where the service tells its $metadata",
                ) from error  # fmt: skip
        url = self.url("$metadata")
        reply = super().send(Call("GET", url, (), {"Accept": "application/xml"}, b"", Repeat.SAFE))
        return model(reply.content, url.partition("?")[0])

    # ---- reading

    def send(self, call: Call) -> Reply:
        """See Http.send. Errors say what the service says."""
        try:
            reply = super().send(self._asked(call))
        except ConnectorError as error:
            said, _ = complaint(error.answer)
            error.hint = error.hint or (f"the system says: {said}" if said else "")
            raise
        return replace(reply, content=self._plain(reply))

    @contextmanager
    def stream(self, call: Call) -> Iterator[Stream]:
        """See Http.stream; the answer is read whole, since its values are looked through."""
        reply = self.send(call)
        yield Stream(reply.status, reply.headers, iter([reply.content]), reply.url)

    def _asked(self, call: Call) -> Call:
        """The call with one `$filter` out of all of its conditions."""
        call = replace(call, url=call.url.replace(" ", "%20"))  # links that a service gives are not always encoded
        if not any(name.startswith(BOUND) for name, _ in call.params):
            return call
        conditions = [value for name, value in call.params if name == "$filter"]
        version = self.model.version
        for name, value in call.params:
            if name.startswith(BOUND):
                _, edm, called = name.split(":", 2)
                conditions.append(f"{called} ge {literal(edm, value, version)}")
        whole = conditions[0] if len(conditions) == 1 else " and ".join(f"({one})" for one in conditions)
        kept = [(name, value) for name, value in call.params if name != "$filter" and not name.startswith(BOUND)]
        return replace(call, params=(*kept, ("$filter", whole)))

    def _plain(self, reply: Reply) -> bytes:
        body = reply.content
        if self._readable is None or "json" not in reply.headers.get("content-type", ""):
            return body
        if self.model.version == 4 and _INNER.search(body):
            where = reply.url.partition("?")[0]
            raise AnswerError(
                f"{where}: the service cuts an expanded list into pages of its own, which would be lost", path=where,
                hint="read that entity set as a dataset of its own in place of `expand`",
            )  # fmt: skip
        body = self._readable.body(body)
        if self.model.version == 2:
            if bare := _BARE.match(body):
                body = b'{"d":{"results":[' + body[bare.end() :].rstrip()[:-1] + b"}}"
            if body.count(b'"results"') > 1:
                body = _unwrapped(body, reply.url.partition("?")[0])
        return body

    def plain(self, body: bytes) -> bytes:
        """A JSON body of this service with its values written plainly."""
        return Readable(self.model).body(body) if self._readable is None else self._readable.body(body)

    # ---- changing

    def change(self, call: Call) -> Reply:
        """Make a call that changes something, with a token where the service gives one; a token that has run out is
        fetched again, once."""
        token = self._fetched(again=False)
        reply = self.send(self._with(call, token))
        if reply.status == 403 and reply.headers.get(_TOKEN, "").lower() == "required":
            reply = self.send(self._with(call, self._fetched(again=True)))
        if reply.status == 403:
            said, _ = complaint(reply.content)
            error = refusal(403, reply.headers, reply.content, f"{call.method} {call.url.partition('?')[0]}")
            error.hint = error.hint or (f"the system says: {said}" if said else "")
            raise error
        return reply

    @staticmethod
    def _with(call: Call, token: str) -> Call:
        headers = {**call.headers, **({"X-CSRF-Token": token} if token else {})}
        return replace(call, headers=headers, accepts=(*call.accepts, 403))

    def _fetched(self, *, again: bool) -> str:
        """The token; empty where the service gives none. The session's cookies are kept by the client."""
        if not self._csrf:
            return ""
        with self._lock:
            if self._token is None or again:
                headers = {"X-CSRF-Token": "Fetch", "Accept": "application/json"}
                call = Call("GET", self.url(""), (), headers, b"", Repeat.SAFE, keep_seconds=0)
                self._token = super().send(call).headers.get(_TOKEN, "")
            return "" if self._token.lower() == "required" else self._token

    def welcomed(self) -> bool:
        """Whether the service gave a token for changes."""
        return bool(self._fetched(again=False))


def complaint(body: bytes) -> tuple[str, str]:
    """What the service says in an error's body, and the property that it complains of: the message of OData 2 or 4
    with its details (`innererror.errordetails` of SAP, `details`)."""
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = told.get("error") or told.get("odata.error") if isinstance(told, dict) else None
    if not isinstance(error, dict):
        return "", ""
    words, field = [_message(error)], str(error.get("target") or "")
    inner = error.get("innererror")
    details = inner.get("errordetails") if isinstance(inner, dict) else None
    for one in [*(details or []), *(error.get("details") or [])][:10]:
        if isinstance(one, dict):
            words.append(_message(one))
            field = field or str(one.get("target") or one.get("propertyref") or "")
    text = "; ".join(dict.fromkeys(word for word in words if word))
    return "".join(c if c.isprintable() else " " for c in text)[:300], field.rpartition("/")[2]


def _message(one: dict[str, Any]) -> str:
    said = one.get("message")
    return str(said.get("value") or "") if isinstance(said, dict) else str(said or "")


def _unwrapped(body: bytes, where: str) -> bytes:
    """A page of version 2 with its expanded lists as arrays. Raises AnswerError for a list that is cut into pages."""
    try:
        whole: Any = json.loads(body)
        entities = whole["d"]["results"]
    except (ValueError, KeyError, TypeError):
        return body
    if not any(
        isinstance(v, dict) and "results" in v for one in entities if isinstance(one, dict) for v in one.values()
    ):
        return body
    whole["d"]["results"] = [_flattened(one, where) for one in entities]
    return json.dumps(whole, ensure_ascii=False).encode()


def _flattened(value: Any, where: str) -> Any:
    if isinstance(value, list):
        return [_flattened(one, where) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("results"), list):
        if value.get("__next"):
            raise AnswerError(
                f"{where}: the service cuts an expanded list into pages of its own, which would be lost", path=where,
                hint="read that entity set as a dataset of its own in place of `expand`",
            )  # fmt: skip
        return _flattened(value["results"], where)
    return {name: _flattened(held, where) for name, held in value.items() if name not in ("__metadata", "__deferred")}
