"""`policy`: what a caller sees of an API and why, and what it could learn that it should not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from tongqu.app.project.places import nearest
from tongqu.app.services.proving import Proofs
from tongqu.app.services.publishing import Compiled
from tongqu.app.services.serve_place import ServeRequest
from tongqu.app.services.serving import origin_of, publishing_of
from tongqu.app.services.timing import local_zone
from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.core.policy import ANONYMOUS, Actor
from tongqu.gateway.policy.decision import Action, Conflict, Decision
from tongqu.gateway.publication import age

if TYPE_CHECKING:
    from tongqu.app.wire import Wire
    from tongqu.gateway.publication import Api


class _Unproved(Proofs):
    """Lets everything pass: what leaks is shown here, not refused."""

    async def check(self, api: Api, path: str) -> None:
        """Nothing is checked."""
        del api, path


@dataclass(frozen=True)
class ExplainRequest:
    """Whom to explain. `client` is one that is registered, or any name where `roles` are given, or `anonymous`.
    `attributes` and `roles` replace what is registered; `at` is an ISO 8601 instant; `address` where it calls from."""

    api: str
    client: str
    version: str = ""
    purpose: str = ""
    at: str = ""
    address: str = ""
    attributes: Sequence[str] = ()
    roles: Sequence[str] = ()
    files: bool = False


def explained(wire: Wire, request: ExplainRequest) -> dict[str, Any]:
    """The effective view of one caller: for each action what is allowed, by which rules, which rows and fields, and the
    SQL of a plain question. Needs no running server; asks the source for its columns. Raises UnknownNameError."""
    at = _moment(request.at)
    actor = actor_of(wire, request)

    async def work(compiled: Compiled) -> dict[str, Any]:
        api = _chosen(compiled, request.api, request.version)
        decisions = {action: api.policy.decide(actor, action) for action in get_args(Action)}
        return {
            "api": api.name,
            "version": api.version,
            "policy": api.policy.version,
            "at": at.isoformat(),
            "actor": {
                "id": actor.id,
                "roles": sorted(actor.roles),
                "attributes": dict(actor.attributes),
                "purpose": actor.purpose,
                "address": actor.address,
            },
            "actions": {action: _action(api, decision) for action, decision in decisions.items()},
            "fields": [_field(api, name, decisions) for name in api.dataset.columns],
            "query": _query(api, decisions["read"]),
            "conflicts": [_conflict(one) for one in api.policy.conflicts],
        }

    return asyncio.run(with_publication(wire, at, files=request.files, work=work))


def tested(wire: Wire, name: str, version: str, *, files: bool) -> dict[str, Any]:
    """Run the leak suite for one API, or for all. Raises UnknownNameError."""

    async def work(compiled: Compiled) -> dict[str, Any]:
        from tongqu.gateway.leaks.suite import prove

        chosen = [_chosen(compiled, name, version)] if name else list(compiled.publication.apis.values())
        apis = []
        for api in chosen:
            proof = await asyncio.to_thread(prove, replace(api, policy=api.policy.opened()))
            apis.append(
                {
                    "name": api.name,
                    "version": api.version,
                    "callers": proof.callers,
                    "questions": proof.questions,
                    "leaks": [vars(leak) for leak in proof.leaks],
                    "conflicts": [_conflict(one) for one in api.policy.conflicts],
                }
            )
        problems = [] if name else [problem for status in compiled.statuses for problem in status.problems]
        return {"ok": not problems and not any(one["leaks"] for one in apis), "apis": apis, "problems": problems}

    return asyncio.run(with_publication(wire, datetime.now(UTC), files=files, work=work))


async def with_publication(wire: Wire, at: datetime, *, files: bool, work: Any) -> dict[str, Any]:
    """What `work` gives for the project as it would be published at that time."""
    project, label = origin_of(wire, ServeRequest(files=files)).load()
    publishing = replace(publishing_of(wire), now=lambda: at, proofs=_Unproved.of(wire.home))
    compiled = await publishing.compile(project, label)
    try:
        document: dict[str, Any] = await work(compiled)
        return document
    finally:
        await publishing.close(compiled)


def _chosen(compiled: Compiled, name: str, version: str) -> Api:
    known = [status for status in compiled.statuses if name in (status.name, status.entry)]
    found = [status for status in known if not version or status.version == version]
    if not found:
        hint = nearest(name, sorted({status.name for status in compiled.statuses}))
        told = f"there is no API {name!r}" + (f" of version {version}" if version else "")
        raise UnknownNameError(told, path="API", hint=hint, params={"name": name})
    newest = max(found, key=lambda status: age(status.version))
    if newest.api is None:
        problem = newest.problems[0] if newest.problems else {}
        raise InvalidSettingsError(
            str(problem.get("message", "it does not compile")), path=str(problem.get("path", "")),
            hint=str(problem.get("hint", "")),
        )  # fmt: skip
    return newest.api


def actor_of(wire: Wire, request: ExplainRequest) -> Actor:
    """The caller that is meant; raises UnknownNameError."""
    from tongqu.app.services.identity import attributes

    if request.client == ANONYMOUS:
        return replace(Actor.nobody(request.address), purpose=request.purpose)
    told = {} if request.roles else _registered(wire, request.client)
    purposes = told.get("purposes") or [""]
    return Actor(
        f"client:{request.client}",
        roles=frozenset(request.roles or told.get("roles", ())),
        attributes={**told.get("attributes", {}), **attributes(request.attributes)},
        purpose=request.purpose or purposes[0],
        address=request.address,
    )


def _registered(wire: Wire, name: str) -> Mapping[str, Any]:
    clients = {one["client_id"]: one for one in wire.callers().list()["clients"]}
    if name not in clients:
        hint = nearest(name, sorted(clients)) if clients else "tongqu client add NAME --role R; or say --roles"
        raise UnknownNameError(f"there is no client {name!r}", path="--as", hint=hint, params={"name": name})
    found: Mapping[str, Any] = clients[name]
    return found


def _moment(text: str) -> datetime:
    if not text:
        return datetime.now(UTC)
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSettingsError(f"{text!r} is no time", path="--at", hint="2026-01-31T08:00:00+08:00") from None
    return made if made.tzinfo else made.replace(tzinfo=local_zone())


def _action(api: Api, decision: Decision) -> dict[str, Any]:
    rows = "" if decision.rows is None else decision.rows.sql(api.server.dialect)
    return {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "rules": list(decision.rules),
        "rows": {"sql": rows, "params": _plain(decision.params)} if decision.allowed else None,
        "writable": sorted(decision.writable),
    }


def _field(api: Api, name: str, decisions: Mapping[str, Decision]) -> dict[str, Any]:
    from tongqu.core.data import Meta
    from tongqu.meaning.fields import metadata

    read = decisions["read"]
    mask = read.fields.get(name)
    cell = read.cells.get(name)
    shown = "hidden" if name not in read.fields else "plain" if mask is None else "masked"
    return {
        "field": name,
        "class": metadata(api.dataset.schema.field(name)).get(Meta.CLASS, "internal"),
        "shown": shown,
        "mask": "" if mask is None else mask.with_,
        "in_rows": "" if cell is None else cell.sql(api.server.dialect),
        "set_by": [action for action in ("insert", "update") if name in decisions[action].writable],
    }


def _query(api: Api, decision: Decision) -> dict[str, Any] | None:
    """The SQL of a question that asks for everything, one page of it."""
    from tongqu.gateway.asking import Ask
    from tongqu.gateway.problems import Problem
    from tongqu.gateway.rewrite import Cursors, rewrite

    if not decision.allowed:
        return None
    entry = api.entry.source.parameters
    given = {name: told.default for name, told in entry.items() if told.default is not None}
    try:
        made = rewrite(Ask(arguments=given), api, decision, Cursors(b"", "", lambda: 0.0))
    except Problem as problem:
        return {"sql": "", "params": {}, "note": problem.detail}
    return {"sql": made.query.tree.sql(api.server.dialect), "params": _plain(made.query.params), "note": ""}


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in params.items()}


def _conflict(one: Conflict) -> dict[str, Any]:
    return {"kind": one.kind, "first": one.first, "second": one.second, "fields": list(one.fields)}
