"""Sends rows to a REST API: each effect, or a batch of them, as a call of the operation that the settings name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from tongqu.connectors.rest.settings import (
    DatasetSettings,
    LookSettings,
    OperationSettings,
    RestSettings,
    WriteSettings,
)
from tongqu.connectors.rest.source import RestSource
from tongqu.core.data import Write
from tongqu.core.errors import CallRefusedError, ConnectorError, InvalidPlanError, NotFoundError
from tongqu.kit.answers.bodies import Template, as_texts, objects, placed, same_value
from tongqu.kit.answers.cutting import complaint
from tongqu.kit.answers.selecting import looked_up
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.client import Http
from tongqu.kit.http.expect import for_people
from tongqu.kit.lists.sink import keys_of
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen
from tongqu.kit.remote.writer import Keyed, Writer

_HOLE = re.compile(r"\{(@?\w+)\}")
_SAYING = ("message", "msg", "errmsg", "error_description", "detail", "title", "error")
PEER = "@id"
"""In a path: the identifier that the API gave the record when it was created."""


class RestWriter(Writer):
    """Writes one dataset. See Writer; calls of PUT and DELETE may come twice without another effect."""

    lists = True

    def __init__(self, name: str, dataset: DatasetSettings, connection: RestSettings, http: Http, write: Write):
        if dataset.write is None:
            raise InvalidPlanError(
                f"nothing says how {name!r} is written", path=name,
                hint=f"datasets.{name}.write: {{create: {{method: POST}}, update: {{method: PUT, path: …}}}}",
            )  # fmt: skip
        self._name = name
        self._dataset = dataset
        self._told: WriteSettings = dataset.write
        self._connection = connection
        self._http = http
        self._write = write
        kinds = {**dataset.fields, **dataset.types}
        self._texts = {name for name, kind in kinds.items() if kind == "string"}
        self._calls = {op: told for op in Op if (told := getattr(dataset.write, op.value)) is not None}
        self.ops = frozenset(self._calls)
        self.looks = dataset.write.look is not None
        self.undoes = bool(dataset.write.undo)
        changing = {told.method for told in self._calls.values()}
        single = all(told.batch == 1 for told in self._calls.values())
        self.keyed = Keyed.ROW if single and changing <= {"PUT", "DELETE"} else Keyed.NO
        self.keyed = Keyed.CALL if self.keyed is Keyed.NO and dataset.write.key_honoured else self.keyed

    def most(self, op: Op) -> int:
        """See Writer.most."""
        told: OperationSettings | None = self._calls.get(op)
        return told.batch if told is not None else 1

    # ---- sending

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send."""
        told = self._calls[effects.op]
        bodies = self._bodies(told, effects)
        if told.batch > 1:
            body = placed("[" + ", ".join(bodies) + "]", told.items) if bodies else ""
            path = self._path(self._of(told), effects, 0)
            reply = self._call(told, path, body, effects)
            return self._each(told, effects, reply)
        body = bodies[0] if bodies else ""
        try:
            reply = self._call(told, self._path(self._of(told), effects, 0), body, effects, _ABSENT)
        except (CallRefusedError, NotFoundError) as error:
            return [Outcome(Result.FAILED, status=error.status, detail=_said(error, told))]
        return [self._one(told, effects.op, reply)]

    def _one(self, told: OperationSettings, op: Op, reply: Reply) -> Outcome:
        """What the answer to a call for one row says."""
        document = _document(reply)
        if reply.status in _ABSENT:
            if op is Op.DELETE:
                return Outcome(Result.OK, None, reply.status)
            return Outcome(
                Result.FAILED, status=reply.status, detail=_message(document, told) or "there is no such record"
            )
        held = looked_up(document, told.results) if told.results else document
        if unclear := _unclear(reply, held, told):
            return Outcome(Result.UNKNOWN, status=reply.status, detail=unclear)
        wrong = complaint(document) or ("" if _went(held, told.ok) else _message(held, told) or "the answer says so")
        if wrong:
            return Outcome(Result.FAILED, status=reply.status, detail=_message(held, told) or wrong)
        done = {201: Op.CREATE}.get(reply.status, op if op is not Op.UPSERT else None)
        return Outcome(Result.OK, done, reply.status, peer=_identifier(held, told))

    def _each(self, told: OperationSettings, effects: Effects, reply: Reply) -> list[Outcome]:
        """What the answer to a batch says of each item. An answer with another number of results says of none."""
        document = _document(reply)
        if not told.results:
            if unclear := _unclear(reply, document, told):
                return [Outcome(Result.UNKNOWN, status=reply.status, detail=unclear)] * len(effects)
            wrong = complaint(document) or ("" if _went(document, told.ok) else "the answer says so")
            result = Result.FAILED if wrong else Result.OK
            return [Outcome(result, status=reply.status, detail=wrong)] * len(effects)
        found = looked_up(document, told.results) if told.results != "." else document
        if not isinstance(found, list) or len(found) != len(effects):
            count = len(found) if isinstance(found, list) else "no"
            detail = f"the answer has {count} results at {told.results!r} for {len(effects)} items"
            return [Outcome(Result.UNKNOWN, status=reply.status, detail=detail)] * len(effects)
        outcomes = []
        for one in found:
            if _went(one, told.ok):
                done = effects.op if effects.op is not Op.UPSERT else None
                outcomes.append(Outcome(Result.OK, done, reply.status, peer=_identifier(one, told)))
            else:
                detail = _message(one, told) or f"the answer refuses it: {json.dumps(one, ensure_ascii=False)[:200]}"
                outcomes.append(Outcome(Result.FAILED, status=reply.status, detail=detail))
        return outcomes

    def _call(
        self, told: OperationSettings, path: str, body: str, effects: Effects, accepts: Sequence[int] = ()
    ) -> Reply:
        repeat, key = (Repeat.KEYED, effects.id) if self._told.key_honoured else (None, "")
        headers = {"Accept": "application/json", **self._dataset.headers}
        if body:
            headers["Content-Type"] = "application/json"
        url = self._http.url(path)
        call = Call(told.method, url, (), headers, body.encode(), repeat, key=key, accepts=accepts)
        return self._http.send(call)

    def _of(self, told: OperationSettings) -> str:
        return told.path or self._dataset.path

    def _path(self, path: str, effects: Effects, place: int) -> str:
        """The path for one row."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name == PEER:
                held: Any = effects.peers[place]
            elif name in effects.rows.column_names:
                held = effects.rows.column(name)[place].as_py()
            else:
                held = self._dataset.params.get(name)
            if held is None or held == "":
                raise CallRefusedError(
                    f"the path {path} needs {name!r}, which this row lacks", path=self._name,
                    hint=f"fields: {', '.join(effects.rows.column_names)}",
                )  # fmt: skip
            return quote(str(held), safe="")

        return _HOLE.sub(value, path)

    def _bodies(self, told: OperationSettings, effects: Effects) -> list[str]:
        """The body of each row; none for a call without one."""
        rows = as_texts(effects.rows, self._texts | set(told.texts))
        if told.method == "DELETE" and told.body is None and told.batch == 1:
            return []
        names = {ours: theirs for ours, theirs in told.fields.items() if ours in rows.column_names}
        records = objects(rows, names or {name: name for name in rows.column_names})
        return Template(told.body).filled(rows, records) if told.body is not None else records

    # ---- reading back

    def look(self, effects: Effects) -> Sequence[Seen]:
        """See Writer.look: a reading call a row."""
        told = self._told.look
        assert told is not None  # noqa: S101  # only asked where `looks`
        mine = [json.loads(one) for one in objects(effects.rows, self._names(effects.rows))]
        return [self._seen(told, effects, place, mine[place]) for place in range(len(effects))]

    def _names(self, rows: pa.Table) -> dict[str, str]:
        """What the columns are called in the records that are sent."""
        told = next((self._calls[op] for op in (Op.UPSERT, Op.UPDATE, Op.CREATE) if op in self._calls), None)
        names = {ours: theirs for ours, theirs in (told.fields if told else {}).items() if ours in rows.column_names}
        return names or {name: name for name in rows.column_names}

    def _seen(self, told: LookSettings, effects: Effects, place: int, mine: dict[str, Any]) -> Seen:
        call = Call("GET", self._http.url(self._path(told.path, effects, place)), accepts=_ABSENT, keep_seconds=0)
        reply = self._http.send(call)
        if reply.status in _ABSENT:
            return Seen.ABSENT
        document = _document(reply)
        held = looked_up(document, told.results) if told.results else document
        held = held[0] if isinstance(held, list) and held else held
        if not held:
            return Seen.ABSENT
        if not isinstance(held, dict):
            return Seen.UNKNOWN
        return Seen.SAME if all(same_value(held.get(name), value) for name, value in mine.items()) else Seen.OTHER

    # ---- taking back

    def undo(self, effects: Effects) -> Outcome:
        """See Writer.undo: the call that the settings name for the kind of effect."""
        told = self._told.undo.get(effects.op.value)
        if told is None:
            return Outcome(Result.FAILED, detail=f"the connection names no call that takes back a {effects.op}")
        bodies = self._bodies(told, effects)
        reply = self._call(told, self._path(self._of(told), effects, 0), bodies[0] if bodies else "", effects, _ABSENT)
        return Outcome(Result.OK, status=reply.status)

    # ---- listing

    def listing(self) -> Iterator[pa.Table]:
        """See Writer.listing: the dataset read as a source."""
        told = next(iter(self._calls.values()))
        return keys_of(RestSource(self._connection), self._write, told.fields)


_ABSENT = (404, 410)


def _document(reply: Reply) -> Any:
    try:
        return json.loads(reply.content) if reply.content.strip() else None
    except ValueError:
        return None


def _unclear(reply: Reply, held: Any, told: OperationSettings) -> str:
    """Why an answer does not tell what became of the call: a page for people (of a proxy, a login) is none of the API,
    and what `ok` names must be there."""
    if for_people(reply):
        return "the answer is a page for people, not the API's: a proxy or a login page may have answered"
    if told.ok and not isinstance(held, dict):
        return f"the answer does not hold {told.ok.partition('=')[0]!r}, which tells whether it went through"
    return ""


def _went(held: Any, ok: str) -> bool:
    """Whether a result says that its item went through: by the key that is named (`success`, `code=0|1`), else by a
    status below 400 and no error."""
    if not isinstance(held, dict):
        return held is not False
    name, _, wanted = ok.partition("=")
    if ok:
        value = looked_up(held, name)
        return (
            str(value).lower() in wanted.lower().split("|") if wanted else bool(value) and str(value).lower() != "false"
        )
    status = held.get("status")
    return not held.get("error") and not held.get("errors") and not (isinstance(status, int) and status >= 400)


def _message(held: Any, told: OperationSettings) -> str:
    if not isinstance(held, dict):
        return ""
    for name in (told.error, *_SAYING):
        value = looked_up(held, name)
        if value:
            return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:300]
    return ""


def _said(error: ConnectorError, told: OperationSettings) -> str:
    """What the peer said in its refusal."""
    try:
        said = _message(json.loads(error.answer), told)
    except ValueError:
        said = ""
    return said or error.message


def _identifier(held: Any, told: OperationSettings) -> str:
    value = looked_up(held, told.id) if isinstance(held, dict) else None
    return "" if value is None or isinstance(value, dict | list) else str(value)
