"""The one reading service of all protocols: decides, rewrites, asks the server, and puts related rows beside."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

from tongqu.core.errors import CastError
from tongqu.core.policy import Actor
from tongqu.core.server import Format, Limits, Page
from tongqu.gateway.asking import Ask, Related, Wanted
from tongqu.gateway.conditions import relations_in, values_in
from tongqu.gateway.exchange import Notes, Request
from tongqu.gateway.exporting import TAKING, Exporting, Taker
from tongqu.gateway.faults import naming
from tongqu.gateway.limit.costs import CostGate, Shapes
from tongqu.gateway.persons import NOTED, Persons
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.related import (
    Node,
    attached,
    cacheable,
    child_asks,
    existing,
    kept,
    named,
    node_of,
    reached,
    tied,
    untied,
)
from tongqu.gateway.rendering import rendered
from tongqu.gateway.rewrite import Cursors, Repeated, Rewritten, rewrite
from tongqu.gateway.tracing import step
from tongqu.kit.serving.trees import WIDE

_KEPT = 2048
_GRACE_SECONDS = 1.0
"""Beyond the time of one query, for all that a question asks of its sources together."""
_CHILD_PAGES = 10
"""Pages of one related API that are put together; more is refused, so that nothing is silently left out."""


@dataclass(frozen=True)
class Answer:
    """Rows as they may be given. `body` is in the format that was asked for (empty for `rows`), `values` holds the rows
    for `rows`, in the order of `names`. `total` counts all rows where a count was asked for. `next` is the cursor of
    the following page, empty behind the last. `offset` rows were passed over, at most `limit` were asked for.
    `cacheable` is false where somebody's personal data are shown as they are."""

    body: bytes
    rows: int
    values: Sequence[Sequence[Any]]
    names: tuple[str, ...]
    total: int | None
    next: str
    decision: Decision
    offset: int = 0
    limit: int = 0
    fields: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    cacheable: bool = True
    subjects: tuple[str, ...] = ()
    """Digests of the persons whose rows are given."""


@dataclass(frozen=True)
class Shelved:
    """What an answer is kept under. `digest` differs wherever the answer could: publication, question, format and
    everything that decided for every API that was read. `tables` are those whose change ends it (`Api.changed_by`),
    `apis` all APIs that were read, the asked one first; `decision` is that of the asked one."""

    digest: bytes
    apis: tuple[Api, ...]
    tables: frozenset[str]
    cacheable: bool
    decision: Decision

    @property
    def api(self) -> Api:
        """The API that was asked."""
        return self.apis[0]


class Shelf(Protocol):
    """Where a cache stands: gives a kept answer or lets it be made, once for all who ask at the same time."""

    async def answer(self, kept: Shelved, make: Callable[[], Awaitable[Answer]], notes: Notes) -> Answer:
        """The answer; sets `notes.cache`."""
        ...


def decided(api: Api, actor: Actor, action: Action) -> Decision:
    """The decision, if it allows the action. Raises Problem `auth.missing` for whoever showed no credentials,
    `auth.scope` for who might but for the scope of its token, `api.unknown` for who may not even read: to them there is
    no such API; `access.denied` for the rest."""
    decision = api.policy.decide(actor, action)
    if decision.allowed:
        return decision
    if actor.scopes and api.policy.decide(replace(actor, scopes=frozenset()), action).allowed:
        word = f"{api.name}:{'read' if action == 'read' else 'write'}"
        told = f'Bearer error="insufficient_scope", scope="{word}"' if word.isascii() else "Bearer"
        raise Problem("auth.scope", headers=[("www-authenticate", told)])
    if not actor.known:
        raise Problem("auth.missing", headers=[("www-authenticate", "Bearer")])
    if action != "read" and api.policy.decide(actor, "read").allowed:
        raise Problem("access.denied", "the rows of this API may be read, not changed in this way")
    raise Problem("api.unknown")


class Reader:
    """Reads published APIs. Safe for many tasks of one event loop.

    `key` signs cursors, `now` gives seconds since 1970. `shelf` may keep answers; without one every question is asked.
    `persons` notes whose rows were given.
    """

    def __init__(
        self, key: bytes, now: Callable[[], float], shelf: Shelf | None = None, persons: Persons | None = None,
        exporting: Exporting | None = None,
    ) -> None:  # fmt: skip
        self._key = key
        self._now = now
        self._shelf = shelf
        self._persons = persons
        self._exporting = exporting
        self._shapes = Shapes()
        self._kept: OrderedDict[tuple[int, int, str, int], tuple[Rewritten, Ask, Api, Cursors]] = OrderedDict()
        self._places: OrderedDict[tuple[int, int, str, str, str], tuple[Shelved, Ask]] = OrderedDict()
        self._repeated: OrderedDict[tuple[int, int, str], Repeated] = OrderedDict()
        self._cursors = Cursors(key, "", now)

    async def read(
        self,
        api: Api,
        actor: Actor,
        ask: Ask,
        format: Format,
        notes: Notes,
        *,
        within: Publication | None = None,
        fresh: bool = False,
        again: bool = False,
    ) -> Answer:
        """One page. `within` is the publication that related APIs are looked up in; without it there are none.
        `fresh` passes a shelf by; `again` says that this very `ask` comes often, so that its rewriting is kept.

        At most the API's `limit.rows` rows. Related APIs are asked one query each and level, whatever the number of
        rows, under their own rules, wherever their data lie; a relation whose fields the caller may not see as they
        are does not exist. Raises Problem; errors of the source are raised as `TongquError`.
        """
        notes.api, notes.version, notes.action, notes.policy = api.name, api.version, "read", api.policy.version
        decision = decided(api, actor, "read")
        again = again and values_in(ask.where) <= WIDE
        node = node_of(api, decision, ask, actor=actor, within=within)
        version = within.version if within is not None else ""
        if self._cursors.version != version:
            self._cursors = replace(self._cursors, version=version)

        counted = self._exporting is not None and not fresh and any(one.entry.export for one, _, _ in _reads(node))
        taker = Taker.of(self._exporting, actor) if counted and self._exporting is not None else None

        async def make() -> Answer:
            TAKING.set(taker)  # of this task alone
            async with asyncio.timeout(api.entry.limit.seconds + _GRACE_SECONDS):
                try:
                    return await asked()
                except CastError as error:
                    raise naming(error, decision.fields) from None

        async def asked() -> Answer:
            if self._persons is None or not named(node):
                return await self._made(node, format, again)
            noted: set[str] = set()
            token = NOTED.set(noted)
            try:
                made = await self._made(node, format, again)
            finally:
                NOTED.reset(token)
            return replace(made, subjects=tuple(sorted(noted))) if noted else made

        if self._shelf is None or fresh or counted:
            answer = await make()
        else:
            answer = await self._shelf.answer(self._place(node, format, again), make, notes)
        notes.rows, notes.fields, notes.masks = answer.rows, answer.fields, answer.masks
        notes.bytes = len(answer.body)
        if answer.subjects:
            notes.more["subjects"] = sorted({*notes.more.get("subjects", ()), *answer.subjects})
        return answer

    def repeats(self, api: Api, decision: Decision, ask: Ask) -> bool:
        """Whether `repeat` may be asked: nothing but the rows themselves is wanted, and nothing stands in between."""
        cache, noted = api.entry.cache, self._persons is not None and api.subjects
        kept = self._shelf is not None and cache is not None and cache.seconds
        plain = bool(decision.plan) and not (ask.related or ask.after) and ask.count == "none"
        gated = api.entry.limit.cost is not None or (api.entry.export is not None and self._exporting is not None)
        return plain and not kept and not noted and not gated and not any(relations_in(ask.where))

    async def repeat(
        self, api: Api, decision: Decision, asked: tuple[Ask, Sequence[str]], format: Format, request: Request
    ) -> Answer:
        """As `read` for a question that comes often with other values, which are the texts of its `Slot`s. `decision`
        is the one for reading, and `repeats(api, decision, ask)` holds."""
        (ask, values), notes, within = asked, request.notes, request.publication
        notes.api, notes.version, notes.action, notes.policy = api.name, api.version, "read", api.policy.version
        if self._cursors.version != within.version:
            self._cursors = replace(self._cursors, version=within.version)
        repeated = self._repeated.get((id(ask), id(api), decision.plan))
        if repeated is None or repeated.rewritten.cursors is not self._cursors:
            repeated = self._repeatable(api, decision, ask, request)
        made, told = repeated.rewritten, repeated.values(values)
        try:
            with step("query", api=api.path, connection=api.connection):
                page = await api.server.query(repeated.query(told, decision), format, repeated.bounds)
        except CastError as error:
            raise naming(error, decision.fields) from None
        notes.rows, notes.fields, notes.masks, notes.bytes = page.rows, made.shown, made.masks, len(page.body)
        return Answer(
            body=page.body, rows=page.rows, values=page.values, names=repeated.names, total=None,
            next=repeated.next(page, told, decision), decision=decision, offset=made.offset,
            limit=made.limit, fields=made.shown, masks=made.masks, cacheable=decision.cacheable,
        )  # fmt: skip

    def _repeatable(self, api: Api, decision: Decision, ask: Ask, request: Request) -> Repeated:
        node = node_of(api, decision, ask, actor=request.actor, within=request.publication)
        limit = api.entry.limit
        bounds = Limits(seconds=limit.seconds, rows=limit.rows + 1)
        made = self._repeated[id(ask), id(api), decision.plan] = Repeated(
            ask, rewrite(node.ask, api, decision, self._cursors), api, decision, bounds
        )
        if len(self._repeated) > _KEPT:
            self._repeated.popitem(last=False)
        return made

    async def _made(self, node: Node, format: Format, again: bool) -> Answer:
        ask = await self._narrowed(node, tied(node))
        shown = any(branch.shown for branch in node.branches)
        if shown and format == "arrow":
            raise Problem("accept.unknown", "rows with related rows inside cannot be given as Arrow")
        rewritten, page = await self._page(node, ask, "rows" if shown else format, again and ask is node.ask)
        total = await self._total(ask, node.api, rewritten, page)
        names = tuple(field.name for field in rewritten.columns)
        body, values = page.body, page.values
        if shown:
            rows = await self.embedded(node, names, page.values)
            names = node.outputs
            body, values = rendered(rows, names, format)
        return Answer(
            body=body, rows=page.rows, values=values, names=names, total=total, next=rewritten.next(page),
            decision=node.decision, offset=rewritten.offset, limit=rewritten.limit,
            fields=(*rewritten.shown, *reached(node)), masks=rewritten.masks, cacheable=cacheable(node),
        )  # fmt: skip

    async def _page(self, node: Node, ask: Ask, format: Format, again: bool = False) -> tuple[Rewritten, Page]:
        api = node.api
        rewritten = self._rewritten(node, ask, again)
        limit = api.entry.limit
        if limit.cost is not None:
            await self._affordable(rewritten, api, CostGate(limit.cost))
        bounds = Limits(seconds=limit.seconds, rows=limit.rows + 1)
        taker = TAKING.get() if api.entry.export is not None else None
        took = await taker.take(api, rewritten.limit) if taker is not None else None
        page = await self._given(api, ask, rewritten, format, bounds)
        if took is not None:
            await took(page.rows)
        return rewritten, page

    async def _given(self, api: Api, ask: Ask, rewritten: Rewritten, format: Format, bounds: Limits) -> Page:
        with step("query", api=api.path, connection=api.connection):
            if self._persons is not None and api.subjects:
                return await self._persons.page(api, ask, rewritten, format, bounds)
            return await api.server.query(rewritten.query, format, bounds)

    def _place(self, node: Node, format: Format, again: bool) -> Shelved:
        """What the answer is kept under; found again as the rewriting is."""
        simple = again and not node.branches and not (node.api.relations and any(relations_in(node.ask.where)))
        key = (id(node.ask), id(node.api), node.decision.fingerprint, format, self._cursors.version)
        kept = self._places.get(key) if simple else None
        if kept is not None:
            return kept[0]
        made = _shelved(node, format, self._cursors.version)
        if simple:
            self._places[key] = (made, node.ask)
            if len(self._places) > _KEPT:
                self._places.popitem(last=False)
        return made

    def _rewritten(self, node: Node, ask: Ask, again: bool) -> Rewritten:
        """The rewriting, kept by the question's identity and the decision's fingerprint, which stands for all values
        that a decision brings; not where a condition reaches into another API, whose decision is not in it."""
        key = (id(ask), id(node.api), node.decision.fingerprint, id(self._cursors))
        kept = self._kept.get(key) if again else None
        if kept is not None:
            self._kept.move_to_end(key)
            return kept[0]
        made = rewrite(ask, node.api, node.decision, self._cursors, relations=node.find)
        if again and not (node.api.relations and any(relations_in(ask.where))):
            self._kept[key] = (made, ask, node.api, self._cursors)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    async def _affordable(self, rewritten: Rewritten, api: Api, gate: CostGate) -> None:
        shape = f"{api.path} {rewritten.query.tree.sql()}"
        if (cost := self._shapes.get(shape, gate, self._now())) is None:
            cost = await api.server.explain(rewritten.query)
            self._shapes.put(shape, cost, self._now())
        gate.check(cost)

    async def _total(self, ask: Ask, api: Api, rewritten: Rewritten, page: Page) -> int | None:
        if ask.count == "none":
            return None
        seen = rewritten.offset + page.rows
        if not ask.after and page.rows and page.rows < rewritten.limit:
            return seen  # the last page tells the number by itself
        if ask.count != "exact" and rewritten.planned is not None:
            guess = round((await api.server.explain(rewritten.planned)).rows)
            if ask.count == "planned" or guess > api.entry.limit.rows:
                return max(guess, seen)
        if rewritten.count is None:
            return None
        with step("count", api=api.path, connection=api.connection):
            counted = await api.server.query(rewritten.count, "rows", Limits(seconds=api.entry.limit.seconds, rows=1))
        return int(counted.values[0][0])

    async def embedded(self, node: Node, names: Sequence[str], values: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """Rows of `node` that are at hand as objects, with related rows inside. `names` are those of `tied(node)`."""
        rows = [dict(zip(names, row, strict=True)) for row in values]
        for branch in node.branches:
            if branch.shown:
                found: list[dict[str, Any]] = []
                for ask in child_asks(branch, rows):
                    found += await self._all(branch.node, ask)
                attached(branch, rows, found)
        untied(rows, node)
        return rows

    async def _all(self, node: Node, ask: Ask) -> list[dict[str, Any]]:
        """All rows that answer the question, as objects."""
        rows: list[dict[str, Any]] = []
        ask = await self._narrowed(node, ask)
        for _ in range(_CHILD_PAGES):
            rewritten, page = await self._page(node, ask, "rows")
            rows += await self.embedded(node, [field.name for field in rewritten.columns], page.values)
            after = rewritten.next(page)
            if not after:
                return rows
            ask = replace(ask, after=after)
        raise Problem("answer.too_large", f"too many rows of `{node.api.name}` are tied to these: ask for fewer")

    async def _narrowed(self, node: Node, ask: Ask) -> Ask:
        """The question with the relations that drop rows made conditions: by the server where it holds both sides,
        else by the keys that exist on the other one."""
        joined: list[Related] = []
        for branch in node.branches:
            related = branch.related
            if not (related.inner or related.none):
                continue
            if branch.node.api.server is node.api.server and not branch.node.branches:
                joined.append(related)
            else:
                found = await self._all(*existing(branch))
                ask = replace(ask, where=kept(branch, found, ask.where))
        return replace(ask, related=tuple(joined)) if joined or ask.related else ask


def _reads(node: Node) -> Iterator[tuple[Api, Decision, str]]:
    """Every API that an answer depends on, with the decision that holds for it and what is asked of it."""
    ask = node.ask if node.ask.wanted is not None else replace(node.ask, wanted=(Wanted("*"),))
    yield node.api, node.decision, repr(ask)
    for name in sorted(set(relations_in(ask.where))):
        found = node.find(name)
        if found is not None:
            yield *found, name
    for branch in node.branches:
        related = branch.related
        first, *below = _reads(branch.node)
        how = (related.relation, related.name, related.inner, related.spread, related.none, branch.shown, first[2])
        yield first[0], first[1], repr(how)
        yield from below


def _shelved(node: Node, format: Format, version: str) -> Shelved:
    reads = list(_reads(node))
    told = [(api.path, api.policy.version, decision.fingerprint, asked) for api, decision, asked in reads]
    text = repr((version, format, told))
    return Shelved(
        digest=blake2b(text.encode("utf-8", "surrogatepass"), digest_size=24).digest(),
        apis=tuple(api for api, _, _ in reads),
        tables=frozenset().union(*(api.changed_by or api.tables for api, _, _ in reads)),
        cacheable=all(decision.cacheable for _, decision, _ in reads),
        decision=node.decision,
    )
