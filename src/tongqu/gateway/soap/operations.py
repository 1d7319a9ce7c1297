"""What each operation does: questions go to the reading service, changes to the writing service, answers become XML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from tongqu.core.server import Idempotency
from tongqu.gateway.asking import Ask, Condition, Joined
from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Request
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.reading import Reader, decided
from tongqu.gateway.soap.asked import Reading, text, truth
from tongqu.gateway.soap.envelope import Message
from tongqu.gateway.soap.rows import escaped, listed_rows, object_rows, table_rows
from tongqu.gateway.soap.shapes import Shape
from tongqu.gateway.soap.words import XSI, namespace
from tongqu.gateway.writing import Edit, Verb, Writer, Written
from tongqu.kit.serving.texts import parsed

_LONGEST_KEY = 255
_FEW = 100
"""Rows up to which single values cost less than Arrow's kernels do to be called."""
_VERBS: Mapping[str, Verb] = {"Insert": "insert", "Upsert": "upsert", "Update": "update", "Delete": "delete"}
_MANNER = ("returnRows", "idempotencyKey")
_ADDING = ("Insert", "Upsert")
_CHANGING = ("key", "filter", "set", "fields", "most", "etag", *_MANNER)


@dataclass(frozen=True)
class Services:
    """Who does the work. `keep` is for how many seconds idempotency keys are remembered."""

    reader: Reader
    writer: Writer
    tags: Tags
    keep: int


@dataclass(frozen=True)
class Call:
    """An operation that the caller may use, as it came."""

    request: Request
    shape: Shape
    message: Message
    name: str

    @property
    def reading(self) -> Reading:
        """Reads its element."""
        return Reading(self.shape, namespace(self.shape.api))


async def answered(call: Call, services: Services) -> str:
    """The element of the answer. Raises Problem."""
    inner = await _DOING.get(call.name, _write)(call, services)
    space = quoteattr(namespace(call.shape.api))
    return f'<{call.name}Response xmlns={space} xmlns:xsi="{XSI}">{inner}</{call.name}Response>'


async def _query(call: Call, services: Services) -> str:
    request, api = call.request, call.shape.api
    ask = call.reading.ask(call.message.operation)
    few = ask.limit is not None and ask.limit <= _FEW
    answer = await services.reader.read(
        api, request.actor, ask, "rows" if few else "arrow", request.notes, within=request.publication
    )
    fields = _fields(call)
    found = listed_rows(answer.values, answer.names, fields) if few else table_rows(answer.body, fields)
    rows = f"<rows>{found}</rows>"
    following = f"<next>{escaped(answer.next)}</next>" if answer.next else ""
    total = f"<total>{answer.total}</total>" if answer.total is not None else ""
    return rows + following + total


async def _get(call: Call, services: Services) -> str:
    request, api = call.request, call.shape.api
    where = call.reading.key(call.message.operation, decided(api, request.actor, "read"))
    ask = Ask(where=where, limit=1)
    answer = await services.reader.read(api, request.actor, ask, "json", request.notes, within=request.publication)
    if answer.rows != 1:
        raise Problem("row.unknown")
    rows = object_rows(parsed(answer.body.decode()), _fields(call))
    return f"{rows}<etag>{escaped(services.tags.tag(answer.body, answer.decision))}</etag>"


async def _write(call: Call, services: Services) -> str:
    request, api, reading = call.request, call.shape.api, call.reading
    operation = call.message.operation
    if call.name in _ADDING:
        told = {name: one[0] for name, one in reading.parts(operation, "rows", *_MANNER).items()}
        rows = reading.rows(told.get("rows"))
        edit = Edit(_VERBS[call.name], rows, returning=_returning(told), missing="default", texts=True,
                    single=len(rows) == 1)  # fmt: skip
    else:
        told = {name: one[0] for name, one in reading.parts(operation, *_CHANGING).items()}
        edit = _changing(call, services, told)
    idempotency = _idempotency(call, text(told.get("idempotencyKey")), services.keep)
    written = await services.writer.write(
        api, request.actor, edit, idempotency, request.notes, within=request.publication
    )
    return _told(call, edit, written)


def _changing(call: Call, services: Services, told: Mapping[str, Any]) -> Edit:
    """The edit of Update and Delete, of one row by its key or of those that a filter finds."""
    verb = _VERBS[call.name]
    api = call.shape.api
    if ("set" in told or "fields" in told) != (verb == "update"):
        raise Problem("body.invalid", "`set` belongs to Update, and Update has it")
    decision = decided(api, call.request.actor, _action(verb))
    parts: list[Condition] = [call.reading.key(told["key"], decision)] if "key" in told else []
    if "filter" in told and (found := call.reading.condition(told["filter"])) is not None:
        parts.append(found)
    most, tag = text(told.get("most")).strip(), text(told.get("etag")).strip()
    if most and not (most.isascii() and most.isdigit() and len(most) < 10):
        raise Problem("body.invalid", "'most': a whole number is expected")
    if not tag and api.entry.write.conditional:
        raise Problem("row.unconditional", hint="`etag` is what Get gave")

    def same(body: bytes, decision: Decision) -> bool:
        return services.tags.unmodified(tag, body, decision)

    return Edit(
        verb, [call.reading.row(told["set"])] if verb == "update" else (),
        parts[0] if len(parts) == 1 else Joined("and", tuple(parts)) if parts else None,
        returning=_returning(told), columns=call.reading.names(told.get("fields")), texts=True, single=True,
        one="key" in told, most=int(most) if most else None, unmodified=same if tag else None,
    )  # fmt: skip


def _action(verb: Verb) -> Action:
    return "delete" if verb == "delete" else "update"


def _returning(told: Mapping[str, Any]) -> Ask | None:
    return Ask() if truth(told.get("returnRows")) else None


def _idempotency(call: Call, told: str, keep: int) -> Idempotency | None:
    """The key of the message, or else of the header `Idempotency-Key`, with the digest of the operation's element."""
    from lxml import etree

    key = told.strip() or call.request.headers.get("idempotency-key", "").strip().strip('"')
    if not key:
        return None
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Problem("request.malformed", f"an idempotency key has 1 to {_LONGEST_KEY} printable ASCII characters")
    actor = call.request.actor
    content = etree.tostring(call.message.operation, method="c14n", exclusive=True)
    scope = f"{f'{actor.id} {actor.subject}'.strip()} SOAP {call.name} {call.shape.api.path}"
    return Idempotency(scope, key, blake2b(content, digest_size=24).hexdigest(), keep)


def _told(call: Call, edit: Edit, written: Written) -> str:
    counts = f"<touched>{written.touched}</touched><inserted>{written.inserted}</inserted>"
    counts += f"<replayed>{'true' if written.replayed else 'false'}</replayed>"
    keys: Sequence[Mapping[str, Any]] = [
        dict(zip(call.shape.api.dataset.key, key, strict=True)) for key in written.keys
    ]
    fields = {field.name: field for field in call.shape.key}
    found = f"<keys>{object_rows(keys, fields, 'key')}</keys>" if keys and fields and call.name in _ADDING else ""
    rows = ""
    if edit.returning is not None:
        rows = f"<rows>{object_rows(parsed(written.body.decode()), _fields(call))}</rows>"
    return counts + found + rows


def _fields(call: Call) -> dict[str, pa.Field[Any]]:
    return {field.name: field for field in call.shape.fields}


_DOING = {"Query": _query, "Get": _get}
