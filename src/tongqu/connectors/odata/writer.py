"""Sends rows to an OData service: each as the creation, change or deletion of one entity."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from tongqu.connectors.odata.model import EntitySet
from tongqu.connectors.odata.service import Service, complaint
from tongqu.connectors.odata.settings import WriteSettings
from tongqu.connectors.odata.values import bodies, literal
from tongqu.core.data import Write
from tongqu.core.errors import CallRefusedError, ConnectorError, InvalidPlanError, NotFoundError
from tongqu.kit.answers.bodies import same_value
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.expect import for_people
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen
from tongqu.kit.remote.writer import Keyed, Writer

_ABSENT = (404, 410)
_CHANGED = (412, 428)
_VERBS = {"merge": "MERGE", "patch": "PATCH", "put": "PUT"}


class ODataWriter(Writer):
    """Writes one entity set; see Writer. `keys` lists the key columns of all entities that the service has.

    Where changes are guarded by ETags, the entity's is read before it is changed; one that somebody changes in between
    is not written, and tried again with its new ETag by the caller.
    """

    def __init__(
        self,
        held: EntitySet,
        told: WriteSettings,
        service: Service,
        *,
        write: Write,
        keys: Callable[[], Iterator[pa.Table]],
    ):
        self._set, self._told, self._service, self._keys = held, told, service, keys
        self._version = service.model.version
        names = {name: told.fields.get(name, name) for name in write.dataset.columns}
        self._names = {n: t for n, t in names.items() if not told.fields or n in told.fields or n in write.key}
        self._check(write)
        self._guarded = held.guarded if told.etag is None else told.etag
        can = {Op.CREATE: True, Op.UPDATE: told.update and not told.upsert, Op.UPSERT: told.upsert}
        self.ops = frozenset(op for op in Op if can.get(op, told.delete))
        self.looks = bool(write.key)
        self.lists = told.delete
        self.keyed = Keyed.NO
        verb = told.method or ("merge" if self._version == 2 else "patch")
        self._verb = _VERBS[verb]
        self._key = {theirs: ours for ours in write.key if (theirs := names.get(ours, ours)) in held.type.key}

    def _check(self, write: Write) -> None:
        """Raise InvalidPlanError for columns that are no properties, and for those that nobody may set."""
        properties = self._set.type.properties
        for ours, theirs in self._names.items():
            if theirs not in properties and theirs not in self._set.type.navigations:
                raise InvalidPlanError(
                    f"{self._set.name} has no property {theirs!r}", path=write.dataset.name,
                    hint=f"map it, datasets.NAME.write.fields: {{{ours}: …}}; it has: {', '.join(properties)}"[:300],
                )  # fmt: skip
            one = properties.get(theirs)
            if one and not (one.creatable or one.updatable) and theirs not in self._set.type.key:
                raise InvalidPlanError(
                    f"the service sets {theirs!r} of {self._set.name} by itself, and would ignore what is written",
                    path=write.dataset.name, hint="leave the column out, or name those to write under write.fields",
                )  # fmt: skip

    # ---- sending

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send: one call."""
        return [self._sent(effects)]

    def _sent(self, effects: Effects) -> Outcome:
        op, rows = effects.op, effects.rows
        try:
            if op is Op.CREATE:
                reply = self._call("POST", self._set.name, self._body(rows, whole=True))
            elif op is Op.DELETE:
                reply = self._guardedly("DELETE", self._place(rows), "")
            else:
                reply = self._guardedly(self._verb, self._place(rows), self._body(rows, whole=self._verb == "PUT"))
        except (CallRefusedError, NotFoundError) as error:
            return _refused(error)
        if reply.status in _CHANGED:
            detail = complaint(reply.content)[0] or "somebody changed the entity meanwhile"
            return Outcome(Result.AGAIN, status=reply.status, detail=detail)
        if reply.status in _ABSENT:
            if op is Op.DELETE:
                return Outcome(Result.OK, None, reply.status)
            return Outcome(Result.FAILED, status=reply.status, detail="there is no such entity")
        if for_people(reply):
            detail = "the answer is a page for people, not the service's: a proxy or a login page may have answered"
            return Outcome(Result.UNKNOWN, status=reply.status, detail=detail)
        done = Op.CREATE if reply.status == 201 else op if op is not Op.UPSERT else None
        return Outcome(Result.OK, done, reply.status, peer=self._identifier(reply))

    def _guardedly(self, verb: str, path: str, body: str) -> Reply:
        """A change of one entity, with its ETag where that is wanted."""
        tag = self._tag(path) if self._guarded else ""
        if tag is None:
            return Reply(404, {}, b"", path)
        reply = self._call(verb, path, body, tag)
        if reply.status == 428 and not tag:
            tag = self._tag(path)
            reply = Reply(404, {}, b"", path) if tag is None else self._call(verb, path, body, tag)
        return reply

    def _tag(self, path: str) -> str | None:
        """The entity's ETag, empty if it has none; None where there is no such entity."""
        reply = self._entity(path)
        if reply.status in _ABSENT:
            return None
        held = _record(reply)
        meta = held.get("__metadata") or {}
        return str(reply.headers.get("etag") or meta.get("etag") or held.get("@odata.etag") or held.get("@etag") or "")

    def _entity(self, path: str) -> Reply:
        call = Call("GET", self._service.url(path), (), _headers(self._version, body=False), b"", Repeat.SAFE,
                    accepts=_ABSENT, keep_seconds=0)  # fmt: skip
        return self._service.send(call)

    def _call(self, verb: str, path: str, body: str, tag: str = "") -> Reply:
        headers = _headers(self._version, body=bool(body))
        if tag:
            headers["If-Match"] = tag
        repeat = None if verb in ("PUT", "DELETE") and not tag else Repeat.NEVER
        accepts = (*_ABSENT, *_CHANGED) if verb != "POST" else ()
        return self._service.change(
            Call(verb, self._service.url(path), (), headers, body.encode(), repeat, accepts=accepts)
        )

    def _body(self, rows: pa.Table, *, whole: bool) -> str:
        """The entity's JSON; its key only where it is new or replaced."""
        named = {o: t for o, t in self._names.items() if o in rows.column_names and (whole or t not in self._key)}
        if not named:
            return "{}"
        (made,) = bodies(rows, named, self._set.type.properties, self._version)
        return made

    def _place(self, rows: pa.Table) -> str:
        """The entity's path: `Set('1')`, `Set(Order='1',Item='10')`."""
        properties, parts = self._set.type.properties, []
        for theirs in self._set.type.key:
            ours = self._key.get(theirs)
            value = rows.column(ours)[0].as_py() if ours in rows.column_names else None
            if value is None:
                raise CallRefusedError(
                    f"{self._set.name} is addressed by {theirs!r}, which this row lacks", path=self._set.name,
                    hint=f"its key is {', '.join(self._set.type.key)}",
                )  # fmt: skip
            text = quote(literal(properties[theirs].edm, value, self._version), safe="'")
            parts.append(text if len(self._set.type.key) == 1 else f"{theirs}={text}")
        return f"{self._set.name}({','.join(parts)})"

    def _identifier(self, reply: Reply) -> str:
        held = _record(reply)
        meta = held.get("__metadata") or {}
        return str(meta.get("uri") or held.get("@odata.id") or reply.headers.get("location") or "")

    # ---- reading back

    def look(self, effects: Effects) -> Sequence[Seen]:
        """See Writer.look: an entity a call."""
        seen = []
        for at in range(len(effects)):
            row = effects.rows.slice(at, 1)
            reply = self._entity(self._place(row))
            if reply.status in _ABSENT:
                seen.append(Seen.ABSENT)
                continue
            theirs = _record(reply)
            mine = json.loads(self._service.plain(self._body(row, whole=True).encode()))
            same = all(same_value(theirs.get(name), value) for name, value in mine.items())
            seen.append(Seen.SAME if same else Seen.OTHER if theirs else Seen.UNKNOWN)
        return seen

    def listing(self) -> Iterator[pa.Table]:
        """See Writer.listing."""
        return self._keys()


def _headers(version: int, *, body: bool) -> dict[str, str]:
    headers = {"Accept": "application/json"}
    if version == 2:
        headers |= {"DataServiceVersion": "2.0", "MaxDataServiceVersion": "2.0"}
    else:
        headers |= {"OData-MaxVersion": "4.01", "OData-Version": "4.0"} if body else {"OData-MaxVersion": "4.01"}
    if body:
        headers["Content-Type"] = "application/json"
    return headers


def _record(reply: Reply) -> dict[str, Any]:
    """The entity of an answer; empty if it has none."""
    try:
        held: Any = json.loads(reply.content)
    except ValueError:
        return {}
    held = held.get("d", held) if isinstance(held, dict) else {}
    return held if isinstance(held, dict) else {}


def _refused(error: ConnectorError) -> Outcome:
    said, field = complaint(error.answer)
    return Outcome(Result.FAILED, status=error.status, detail=said or error.message, field=field)
