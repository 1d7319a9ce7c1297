"""`POST /ingest/{name}`: rows checked, kept durably, and answered with 202 before they are written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.intake.addressing import ingested
from tongqu.gateway.live.marks import Marks
from tongqu.gateway.policy.decision import Action
from tongqu.gateway.problems import Problem
from tongqu.gateway.reading import decided
from tongqu.gateway.rest.bodies import sent
from tongqu.gateway.rest.preferences import preferences
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import unpacked
from tongqu.gateway.tracing import here
from tongqu.gateway.validating import Schemas
from tongqu.gateway.writing import Verb
from tongqu.store.intake import Intake, Parcel

MOST_WAITING = 200_000
_LONGEST_KEY = 255
_VERBS: Mapping[str, Verb] = {"merge-duplicates": "upsert", "ignore-duplicates": "ignore"}


class IntakeHandler:
    """Takes rows in. What it answered 202 to is on disk, and is written once, in the order it came, with the rights
    that its sender had then."""

    def __init__(
        self,
        intake: Intake,
        sizes: SizesEntry,
        key: bytes,
        *,
        depth: Callable[[], int] = lambda: 0,
        now: Callable[[], float] = time.time,
    ):
        self._intake = intake
        self._sizes = sizes
        self._marks = Marks(key)
        self._depth = depth
        self._now = now
        self._schemas = Schemas()

    async def handle(self, request: Request) -> Reply:
        """202 with `id`; raises Problem as a write of the same rows would, as far as that can be told without the
        database, `key.reused`, and `overloaded` while too much waits."""
        api = ingested(request.publication, request.path)
        if api is None:
            raise Problem("auth.missing" if not request.actor.known else "api.unknown")
        if request.method != "POST":
            raise Problem("method.refused", headers=[("allow", "POST")])
        notes = request.notes
        notes.api, notes.version, notes.action, notes.policy = api.name, api.version, "ingest", api.policy.version
        wish = preferences(request.headers.get("prefer", ""), writing=True)
        verb = _VERBS.get(wish.resolution or "", "insert")
        if not api.table or not api.entry.write.insert or (verb == "upsert" and not api.entry.write.update):
            raise Problem("method.refused", "rows of this API cannot be changed in this way")
        actions: tuple[Action, ...] = ("insert", "update") if verb == "upsert" else ("insert",)
        names = frozenset.intersection(*(decided(api, request.actor, action).writable for action in actions))
        if self._depth() > MOST_WAITING:
            raise Problem("overloaded", "too many rows wait to be written", headers=[("retry-after", "5")])
        limit = min(api.entry.limit.body_kb << 10, self._sizes.body_bytes)
        body = unpacked(await request.body(limit), request.headers.get("content-encoding", ""), limit, self._sizes)
        media = request.headers.get("content-type", "")
        rows = sent(body, media, self._sizes)
        if len(rows.rows) > api.entry.limit.rows:
            raise Problem("body.invalid", f"at most {api.entry.limit.rows} rows can be sent at once")
        self._schemas.typed(api, names, rows.rows, whole=True, texts=rows.texts, single=rows.single)
        key = _key(request, required=api.entry.write.idempotency == "required")
        if "mock" in notes.more:
            return Reply(
                202, [("content-type", "application/json")], orjson.dumps({"id": "mock", "rows": len(rows.rows)})
            )
        header = orjson.dumps(
            {"verb": verb, "media": media, "actor": _actor(request.actor)}, option=orjson.OPT_SORT_KEYS
        )
        scope = f"{request.actor.id} {request.actor.subject} {api.path}"
        parcel = Parcel(f"{api.version}/{api.name}", header, body, self._now(), scope, key, _digest(header, body),
                        here().header)  # fmt: skip
        receipt = await asyncio.wrap_future(self._intake.append(parcel))
        if receipt.clash:
            raise Problem("key.reused")
        notes.rows, notes.fields = len(rows.rows), sorted({name for row in rows.rows for name in row})
        headers: Headers = [("content-type", "application/json")]
        if receipt.again:
            headers.append(("idempotent-replayed", "true"))
        id = self._marks.mark(f"ingest {api.path}", receipt.position)
        return Reply(202, headers, orjson.dumps({"id": id, "rows": len(rows.rows)}))


def actor_of(told: Mapping[str, Any]) -> Actor:
    """The sender as `_actor` wrote it down."""
    return Actor(**{**told, "roles": frozenset(told["roles"]), "scopes": frozenset(told["scopes"])})


def _actor(actor: Actor) -> dict[str, Any]:
    return {
        "id": actor.id, "kind": actor.kind, "roles": sorted(actor.roles), "attributes": dict(actor.attributes),
        "purpose": actor.purpose, "address": actor.address, "scopes": sorted(actor.scopes), "subject": actor.subject,
        "sandbox": actor.sandbox,
    }  # fmt: skip


def _key(request: Request, *, required: bool) -> str:
    text = request.headers.get("idempotency-key", "").strip()
    key = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if required and not key:
        raise Problem("key.missing", "send an Idempotency-Key header")
    if key and (len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable()):
        raise Problem("request.malformed", f"an Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters")
    return key


def _digest(header: bytes, body: bytes) -> str:
    made = blake2b(header, digest_size=24)
    made.update(body)
    return made.hexdigest()
