"""Sends rows to an OData service: each as the creation, change or deletion of one entity."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from tongqu.connectors.odata.batches import Asked
from tongqu.connectors.odata.carrying import Carrier, Found
from tongqu.connectors.odata.model import EntitySet
from tongqu.connectors.odata.service import Service, complaint
from tongqu.connectors.odata.settings import WriteSettings
from tongqu.connectors.odata.values import bodies, literal
from tongqu.core.data import Write
from tongqu.core.errors import (
    CallRefusedError,
    ConnectorError,
    InvalidPlanError,
    NotFoundError,
    SchemaError,
    TongquError,
)
from tongqu.kit.answers.bodies import same_value
from tongqu.kit.http.call import Reply
from tongqu.kit.http.expect import for_people
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen
from tongqu.kit.remote.writer import Keyed, Writer, judged

_ABSENT = (404, 410)
_CHANGED = (412, 428)
_VERBS = {"merge": "MERGE", "patch": "PATCH", "put": "PUT"}


class ODataWriter(Writer):
    """Writes one entity set; see Writer. `keys` lists the key columns of all entities that the service has.

    Where changes are guarded by ETags, the entity's is read before it is changed; one that somebody changes in between
    is not written, and tried again with its new ETag by the caller. Several changes go as one batch (`Carrier`).
    """

    def __init__(
        self,
        held: EntitySet,
        told: WriteSettings,
        service: Service,
        carrier: Carrier,
        *,
        write: Write,
        keys: Callable[[], Iterator[pa.Table]],
    ):
        self._set, self._told, self._service, self._keys = held, told, service, keys
        self._carrier, self.divides = carrier, carrier.divides
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

    def most(self, op: Op) -> int:
        """See Writer.most."""
        del op
        return self._carrier.most

    # ---- sending

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send: one call, or one batch; what it does not come to goes in further ones."""
        op = effects.op
        outcomes: dict[int, Outcome] = {}
        asked: dict[int, Asked] = {}
        for at in range(len(effects)):
            try:
                asked[at] = self._asked(op, effects.rows.slice(at, 1))
            except (CallRefusedError, SchemaError) as error:
                field = error.field if isinstance(error, SchemaError) else ""
                outcomes[at] = Outcome(Result.FAILED, detail=error.message, field=field)
        if asked:
            outcomes |= zip(asked, self._outcomes(op, self._sent(op, list(asked.values()))), strict=True)
        return [outcomes[at] for at in range(len(effects))]

    def _asked(self, op: Op, row: pa.Table) -> Asked:
        if op is Op.CREATE:
            return Asked("POST", self._set.name, _headers(self._version, body=True), self._body(row, whole=True))
        body = "" if op is Op.DELETE else self._body(row, whole=self._verb == "PUT")
        verb = "DELETE" if op is Op.DELETE else self._verb
        return Asked(verb, self._place(row), _headers(self._version, body=bool(body)), body)

    def _sent(self, op: Op, asked: Sequence[Asked]) -> list[Found]:
        """Make these calls. A change of an entity goes with its ETag where that is wanted."""
        if op is Op.CREATE:
            return self._carrier.change(asked, ())
        found: dict[int, Found] = {}
        tagged = dict(enumerate(asked))
        if self._guarded:
            tagged, found = self._tagged(tagged)
        accepts = (*_ABSENT, *_CHANGED)
        if tagged:
            found |= zip(tagged, self._carrier.change(list(tagged.values()), accepts), strict=True)
        late = {at: asked[at] for at, one in found.items() if isinstance(one, Reply) and one.status == 428}
        if late and not self._guarded:
            tagged, absent = self._tagged(late)
            found |= absent
            if tagged:
                found |= zip(tagged, self._carrier.change(list(tagged.values()), accepts), strict=True)
        return [found[at] for at in range(len(asked))]

    def _tagged(self, asked: Mapping[int, Asked]) -> tuple[dict[int, Asked], dict[int, Found]]:
        """The calls with the ETags that their entities have; what is known of those that cannot be made."""
        headers = _headers(self._version, body=False)
        replies = self._carrier.read([Asked("GET", one.path, headers) for one in asked.values()], _ABSENT)
        tagged: dict[int, Asked] = {}
        known: dict[int, Found] = {}
        for (at, one), reply in zip(asked.items(), replies, strict=True):
            if isinstance(reply, TongquError) or reply.status in _ABSENT:
                known[at] = reply
                continue
            held = _record(reply)
            meta = held.get("__metadata") or {}
            tag = reply.headers.get("etag") or meta.get("etag") or held.get("@odata.etag") or held.get("@etag")
            tagged[at] = replace(one, headers={**one.headers, "If-Match": str(tag)}) if tag else one
        return tagged, known

    def _outcomes(self, op: Op, found: Sequence[Found]) -> list[Outcome]:
        """What became of each; those of one error are one outcome. Raises an error for which the run must stop, unless
        it was met after others went through: then it is met again."""
        made: dict[int, Outcome] = {}
        for one in found:
            if id(one) in made:
                continue
            if isinstance(one, Reply):
                made[id(one)] = self._outcome(op, one)
            elif isinstance(one, CallRefusedError | NotFoundError):
                made[id(one)] = _refused(one)
            else:
                try:
                    made[id(one)] = judged(one)
                except TongquError:
                    if all(isinstance(other, TongquError) for other in found):
                        raise
                    made[id(one)] = Outcome(Result.AGAIN, detail=one.message)
        return [made[id(one)] for one in found]

    def _outcome(self, op: Op, reply: Reply) -> Outcome:
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
        """See Writer.look: an entity a call, or several in one."""
        rows = [effects.rows.slice(at, 1) for at in range(len(effects))]
        headers = _headers(self._version, body=False)
        found = self._carrier.read([Asked("GET", self._place(row), headers) for row in rows], _ABSENT)
        if len(found) == 1 and isinstance(found[0], TongquError):
            raise found[0]
        return [self._seen(row, one) for row, one in zip(rows, found, strict=True)]

    def _seen(self, row: pa.Table, found: Found) -> Seen:
        if isinstance(found, TongquError):
            return Seen.UNKNOWN
        if found.status in _ABSENT:
            return Seen.ABSENT
        theirs = _record(found)
        mine = json.loads(self._service.plain(self._body(row, whole=True).encode()))
        same = all(same_value(theirs.get(name), value) for name, value in mine.items())
        return Seen.SAME if same else Seen.OTHER if theirs else Seen.UNKNOWN

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
