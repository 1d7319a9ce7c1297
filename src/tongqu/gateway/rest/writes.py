"""POST, PATCH, PUT and DELETE: rows added, merged, changed, replaced and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from tongqu.core.server import Idempotency
from tongqu.gateway.asking import Ask, Condition
from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.policy.values import fitted
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.reading import decided
from tongqu.gateway.rest.bodies import Sent, sent
from tongqu.gateway.rest.formats import Form, form
from tongqu.gateway.rest.keys import equal_values, key_condition, key_values, location
from tongqu.gateway.rest.preferences import Preferences, preferences
from tongqu.gateway.rest.query import Words, words
from tongqu.gateway.rest.reads import both
from tongqu.gateway.rest.shaping import shaped_rows, single
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import unpacked
from tongqu.gateway.writing import Edit, Writer, Written
from tongqu.kit.serving.texts import plain

_LONGEST_KEY = 255


@dataclass(frozen=True)
class Call:
    """A write as it came."""

    request: Request
    api: Api
    segment: str | None
    body: bytes
    wish: Preferences
    told: Form
    found: Words


async def wrote(
    request: Request, api: Api, segment: str | None, writer: Writer, *, tags: Tags, sizes: SizesEntry, keep: int
) -> Reply:
    """The answer to a write. `keep` is for how many seconds an Idempotency-Key is remembered."""
    wish = preferences(request.headers.get("prefer", ""), writing=True)
    told = form(request.headers.get("accept", ""))
    limit = min(api.entry.limit.body_kb << 10, sizes.body_bytes)
    body = await request.body(limit)
    body = unpacked(body, request.headers.get("content-encoding", ""), limit, sizes)
    call = Call(request, api, segment, body, wish, told, words(request.pairs()))
    _fits(call)
    edit = _EDITS[request.method](call, sizes)
    edit = _limited(call, _conditional(call, edit, tags))
    try:
        written = await writer.write(
            api, request.actor, edit, _idempotency(call, keep), request.notes, within=request.publication
        )
    except Problem as problem:
        raise _told_here(problem, call) from None
    return _reply(call, edit, written, tags)


def _fits(call: Call) -> None:
    ask = call.found.ask
    if ask.limit is not None or ask.offset or ask.order:
        raise Problem("query.malformed", "`limit`, `offset` and `order` do not belong to writes")
    if call.request.method == "POST" and (call.found.filtered or call.segment is not None):
        raise Problem("method.refused", "POST adds rows to all of them: no filters, no key")
    if call.told.shape == "arrow" and call.wish.returned == "representation":
        raise Problem("accept.unknown", "rows that were written cannot be given as Arrow")


def _added(call: Call, sizes: SizesEntry) -> Edit:
    rows = _sent(call, sizes)
    verb = {"merge-duplicates": "upsert", "ignore-duplicates": "ignore"}.get(call.wish.resolution, "insert")
    if call.told.shape == "object" and call.wish.returned == "representation":
        single(len(rows.rows))
    return Edit(
        "upsert" if verb == "upsert" else "ignore" if verb == "ignore" else "insert",
        rows.rows, conflict=call.found.on_conflict, returning=_returning(call), columns=call.found.columns,
        missing="default" if call.wish.missing == "default" else "refuse", texts=rows.texts, single=rows.single,
    )  # fmt: skip


def _changed(call: Call, sizes: SizesEntry) -> Edit:
    rows = _one(_sent(call, sizes))
    return Edit(
        "update", rows.rows, _where(call), returning=_returning(call), columns=call.found.columns, texts=rows.texts,
        single=True, one=_only_one(call),
    )  # fmt: skip


def _replaced(call: Call, sizes: SizesEntry) -> Edit:
    rows = _one(_sent(call, sizes))
    texts = key_values(call.api, call.segment) if call.segment else equal_values(call.api, call.found.ask.where)
    key, row = _keyed(call.api, texts, rows.rows[0])
    headers = call.request.headers
    if "if-match" in headers:
        where = _where(call)
        rest = {name: value for name, value in row.items() if name not in key}
        return Edit(
            "update", [rest], where, returning=_returning(call), texts=rows.texts, single=True, one=True, whole=True
        )
    verb = "insert" if headers.get("if-none-match", "").strip() == "*" else "upsert"
    return Edit(
        "insert" if verb == "insert" else "upsert", [row], returning=_returning(call), texts=rows.texts, single=True,
        whole=True,
    )  # fmt: skip


def _deleted(call: Call, sizes: SizesEntry) -> Edit:
    del sizes
    return Edit("delete", (), _where(call), returning=_returning(call), one=_only_one(call))


_EDITS = {"POST": _added, "PATCH": _changed, "PUT": _replaced, "DELETE": _deleted}


def _sent(call: Call, sizes: SizesEntry) -> Sent:
    return sent(call.body, call.request.headers.get("content-type", ""), sizes)


def _one(rows: Sent) -> Sent:
    if len(rows.rows) != 1:
        raise Problem("body.malformed", "one row is expected")
    return rows


def _keyed(api: Api, texts: Mapping[str, str], row: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The key's values of their types, and the row with them; a body that says otherwise is refused."""
    key: dict[str, Any] = {}
    for name, text in texts.items():
        field = api.dataset.schema.field(name)
        try:
            value = fitted(text, field)
            given = fitted(row[name], field) if name in row else value
        except ValueError as error:
            raise Problem("value.invalid", f"`{name}`: {error}") from None
        if given != value:
            told = {"pointer": f"/{name}", "code": "key", "detail": "is another key than that of the address"}
            raise Problem("body.invalid", f"/{name} {told['detail']}", errors=[told])
        key[name] = plain(value)
    return key, {**row, **key}


def _where(call: Call) -> Condition | None:
    if call.segment is None:
        return call.found.ask.where
    decision = decided(call.api, call.request.actor, "delete" if call.request.method == "DELETE" else "update")
    where = key_condition(call.api, decision, call.segment)
    return both(where, call.found.ask.where)


def _only_one(call: Call) -> bool:
    return call.segment is not None or (call.told.shape == "object" and call.wish.returned == "representation")


def _returning(call: Call) -> Ask | None:
    if call.wish.returned != "representation":
        return None
    return Ask(wanted=call.found.ask.wanted, related=call.found.ask.related)


def _limited(call: Call, edit: Edit) -> Edit:
    return (
        edit if call.wish.most is None or edit.verb not in ("update", "delete") else replace(edit, most=call.wish.most)
    )


def _conditional(call: Call, edit: Edit, tags: Tags) -> Edit:
    header = call.request.headers.get("if-match", "")
    if not header:
        if call.api.entry.write.conditional and edit.verb in ("update", "delete", "upsert"):
            raise Problem("row.unconditional")
        return edit
    if edit.verb not in ("update", "delete"):
        raise Problem("query.malformed", "`If-Match` belongs to changes of one row")
    return replace(edit, unmodified=lambda body, decision: tags.unmodified(header, body, decision))


def _idempotency(call: Call, keep: int) -> Idempotency | None:
    """The key with its scope (caller, method, address) and the digest of everything that decides what is done."""
    if "idempotency-key" not in call.request.headers:
        return None
    text = call.request.headers["idempotency-key"].strip()
    key = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Problem("request.malformed", f"an Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters")
    request = call.request
    route = call.api.path if call.segment is None else f"{call.api.path}/{call.segment}"
    who = f"{request.actor.id} {request.actor.subject}".strip()
    made = blake2b(digest_size=24)
    names = ("prefer", "content-type", "accept", "if-match", "if-none-match")
    for part in (request.query, *(request.headers.get(name, "") for name in names)):
        made.update(part.encode() + b"\0")
    made.update(call.body)
    return Idempotency(f"{who} {request.method} {route}", key, made.hexdigest(), keep)


def _told_here(problem: Problem, call: Call) -> Problem:
    """The refusal in the words of the request: no single row, or a row that was there although none was to be."""
    if problem.code == "row.unknown" and call.segment is None:
        return Problem("row.single", "the change is of exactly one row", more={"details": "The result is not 1 row"})
    if problem.code == "row.conflict" and call.request.headers.get("if-none-match", "").strip() == "*":
        return Problem("row.changed", "there is such a row")
    return problem


def _reply(call: Call, edit: Edit, written: Written, tags: Tags) -> Reply:
    shown = edit.returning is not None
    new = edit.verb in ("insert", "ignore", "upsert")
    code = 201 if edit.verb == "insert" or written.inserted else 200 if shown or new else 204
    if call.request.method == "PUT" and code == 200 and not shown:
        code = 204
    headers: Headers = [("content-range", _span(call, written))] if call.segment is None else []
    headers += call.wish.header()
    if written.replayed:
        headers.append(("idempotent-replayed", "true"))
    if new and call.segment is None and len(written.keys) == 1:
        headers.append(("location", location(call.api, written.keys[0])))
    if not shown:
        return Reply(code, headers)
    told = call.told
    if call.segment is not None and told.shape == "json":
        told = replace(told, shape="object")
    names = [wanted.name or wanted.field for wanted in (edit.returning.wanted if edit.returning else None) or ()]
    body = shaped_rows(written.body, names, told, call.api)
    headers += [("content-type", told.media), ("cache-control", "no-store")]
    if written.decision is not None and written.touched == 1 and edit.verb != "delete":
        headers.append(("etag", tags.tag(written.body, written.decision)))
    call.request.notes.bytes = len(body)
    return Reply(code, headers, body)


def _span(call: Call, written: Written) -> str:
    total = str(written.touched) if call.wish.count == "exact" else "*"
    if call.request.method == "POST" or not written.touched:
        return f"*/{total}"
    return f"0-{written.touched - 1}/{total}"
