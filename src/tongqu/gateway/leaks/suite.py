"""What could a caller learn of fields and rows it may not see? Tries every way to ask, for every role of an API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.policy import Actor
from tongqu.core.server import Page
from tongqu.gateway.asking import Ask, Compare, Wanted
from tongqu.gateway.leaks.channels import asking, naming, whole
from tongqu.gateway.leaks.worlds import TABLE, Worlds, pool
from tongqu.gateway.policy.compiling import CompiledPolicy
from tongqu.gateway.policy.conditions import Attribute, operands
from tongqu.gateway.policy.decision import Action
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite import Cursors, Rewritten, conditions, returning, rewrite
from tongqu.meaning.masks import Mask, masked
from tongqu.meaning.sandbox import narrowed

if TYPE_CHECKING:
    from sqlglot import exp

    from tongqu.core.server import Server

CHANGES: tuple[Action, ...] = ("insert", "update", "delete")
_CURSORS = Cursors(b"the leak suite signs with this key", "", lambda: 0.0)


@dataclass(frozen=True)
class Leak:
    """A way in which something that is not allowed can be learnt: by which caller, of which field (empty: of hidden
    rows), through which kind of question, and what went wrong."""

    actor: str
    field: str
    channel: str
    detail: str


@dataclass(frozen=True)
class Proof:
    """What `prove` did: how many questions were tried for how many callers, and what leaked."""

    questions: int
    callers: int
    leaks: tuple[Leak, ...]


class _Lab:
    """Stands for the API's server: masks in the private database's SQL, where the server has them in its own."""

    dialect = "duckdb"

    def __init__(self, server: Server | None, schema: pa.Schema) -> None:
        self._server, self._schema = server, schema

    def mask(self, mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
        """DuckDB's SQL of a mask; None where the API's own server replaces values after the query."""
        able = self._server is None or self._server.mask(mask, column) is not None
        return masked(mask, column.name, self._schema) if able else None


def prove(api: Api) -> Proof:
    """Run the suite for everybody the rules of the API tell apart: nobody, a client without roles, each role, all
    together, those that conflicts name, each stated purpose. Needs no data and asks the source nothing."""
    questions = 0
    found: list[Leak] = []
    callers = list(actors(api))
    for actor in callers:
        tried = _Trial(api, actor)
        try:
            tried.run()
        finally:
            tried.close()
        questions += tried.questions
        found += tried.leaks
    return Proof(questions, len(callers), tuple(found))


def leaks(api: Api, actor: Actor) -> list[Leak]:
    """What one actor could learn; empty if nothing. Made-up rows only: pairs of tables that differ in nothing but what
    the actor may not see must give the same answers, counts, cursors and refusals."""
    trial = _Trial(api, actor)
    try:
        trial.run()
    finally:
        trial.close()
    return trial.leaks


def actors(api: Api) -> Iterator[Actor]:
    """Callers that the rules of an API tell apart, with attributes that fit some made-up rows."""
    access = api.entry.access
    roles = {*access.roles, *access.write_roles}
    roles |= {role for entry in access.fields.values() for role in (*entry.roles, *(entry.write or ()))}
    roles |= {role for entry in access.rules for role in entry.roles}
    purposes = {one for entry in access.fields.values() for one in entry.purposes}
    purposes |= {one for entry in access.fields.values() if entry.mask for one in entry.mask.purposes}
    purposes |= {one for entry in access.rules for one in entry.purposes}
    attributes = _attributes(api)
    yield Actor.nobody()
    sets = [frozenset[str](), *(frozenset((role,)) for role in sorted(roles)), frozenset(roles)]
    sets += [frozenset((one.first, one.second)) for one in api.policy.conflicts if one.kind == "lifted"]
    for group in dict.fromkeys(sets):
        name = "+".join(sorted(group)) or "no role"
        yield Actor(f"client:{name}", roles=group, attributes=attributes)
        for purpose in sorted(purposes):
            yield Actor(f"client:{name} for {purpose}", roles=group, attributes=attributes, purpose=purpose)


def _attributes(api: Api) -> dict[str, Any]:
    policy = api.policy
    if not isinstance(policy, CompiledPolicy):
        return {}
    rules = [policy.rows, *(rule for grant in policy.grants for rule in (grant.rows, grant.when) if rule is not None)]
    used = [one for rule in rules for one in operands(rule) if isinstance(one, Attribute)]
    return {one.name: pool(one.field)[0] for one in used}


class _Trial:
    """All questions of one caller."""

    def __init__(self, api: Api, actor: Actor) -> None:
        source = api.entry.source.model_copy(update={"query": None, "dataset": TABLE, "parameters": {}})
        schema = api.policy.columns if isinstance(api.policy, CompiledPolicy) else api.dataset.schema
        self._schema: pa.Schema = narrowed(schema)
        lab: Any = _Lab(api.server, self._schema)
        entry = api.entry.model_copy(update={"source": source})
        self.api = replace(api, entry=entry, server=lab, table=TABLE, sql="", parameters={}, relations={})
        self.actor, self.questions = actor, 0
        self.leaks: list[Leak] = []
        self.decision = api.policy.decide(actor, "read")
        self.worlds = Worlds(self._schema, api.dataset.key, self.decision) if self.decision.allowed else None

    def close(self) -> None:
        """Release the made-up tables."""
        if self.worlds is not None:
            self.worlds.close()

    def run(self) -> None:
        """Try everything."""
        if self.worlds is None:
            self._refused(Ask())
            return
        visible = next(iter(self.decision.fields))
        for field in self._schema:
            if field.name not in self.decision.fields:
                self._hidden(field.name, visible)
            elif self.decision.fields[field.name] is not None or field.name in self.decision.cells:
                self._compare(field.name, asking(field, self.api.dataset.key[0] if self.api.dataset.key else ""))
        keys = tuple(name for name in self.api.dataset.key if name in self.decision.fields)
        self._compare("", whole(keys))
        self._written()

    def _refused(self, ask: Ask) -> None:
        self.questions += 1
        try:
            rewrite(ask, self.api, self.decision, _CURSORS)
        except Problem as problem:
            if problem.code == "access.denied":
                return
        self._leak("", "everything", "a caller that is refused was answered")

    def _hidden(self, name: str, visible: str) -> None:
        """A hidden field and one that is not there must be refused in the same words, everywhere."""
        other = self._absent(name)
        for (channel, ask), (_, same) in zip(naming(name, visible), naming(other, visible), strict=True):
            self._alike((name, other), channel, partial(self._rewritten, ask), partial(self._rewritten, same))
        back = partial(returning, self.api, self.decision)
        self._alike((name, other), "returning", partial(back, (Wanted(name),)), partial(back, (Wanted(other),)))
        for action in CHANGES:
            decision = self.api.policy.decide(self.actor, action)
            if not decision.allowed:
                continue
            held = partial(conditions, self.api, decision)
            one, same_one = Compare(name, "is", "null"), Compare(other, "is", "null")
            self._alike((name, other), f"filter of {action}", partial(held, (), one), partial(held, (), same_one))
            if name not in decision.writable:
                self._alike((name, other), f"set by {action}", partial(held, (name,)), partial(held, (other,)))

    def _absent(self, name: str) -> str:
        """A name like this one that no column has."""
        names = {*self._schema.names, *self.api.relations}
        return next(made for n in range(1000) if (made := f"{name[: -len(str(n))]}{n}") not in names)

    def _rewritten(self, ask: Ask) -> Rewritten:
        return rewrite(ask, self.api, self.decision, _CURSORS)

    def _alike(
        self, names: tuple[str, str], channel: str, work: Callable[[], object], same: Callable[[], object]
    ) -> None:
        self.questions += 1
        found, wanted = _told(work), _told(same)
        if not wanted.startswith("field.unknown") or found != wanted.replace(names[1], names[0]):
            self._leak(names[0], channel, "it is not answered as a field that is not there")

    def _compare(self, name: str, questions: Iterator[tuple[str, Ask]]) -> None:
        for channel, ask in questions:
            self.questions += 1
            first, second = self._heard(0, ask), self._heard(1, ask)
            if first != second:
                self._leak(name, channel, "the answer depends on what may not be seen")

    def _heard(self, world: int, ask: Ask) -> Any:
        """All that a caller hears: rows, number, cursor and the next page, or the refusal."""
        try:
            made = rewrite(ask, self.api, self.decision, _CURSORS)
            rows, token = self._page(world, made)
            more = (
                self._page(world, rewrite(replace(ask, after=token, offset=0), self.api, self.decision, _CURSORS))
                if token
                else ()
            )
            count = self._run(world, made.count.tree, made.count.params) if made.count is not None else ()
        except Problem as problem:
            return (problem.code, problem.detail, problem.hint, problem.errors)
        return rows, token, more, count

    def _page(self, world: int, made: Rewritten) -> tuple[list[Any], str]:
        rows = self._run(world, made.query.tree, made.query.params)
        width = len(made.columns)
        after = [made.query.after.get(field.name) for field in made.columns]
        shown = [[_shown(hide, v) for hide, v in zip(after, row, strict=False)] for row in rows]
        last = rows[-1][width:] if rows else ()
        return shown, made.next(Page(b"", len(rows), tuple(last)))

    def _run(self, world: int, tree: exp.Expr, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        assert self.worlds is not None  # noqa: S101  run() has seen to it
        return self.worlds.outcome(world, tree, params)

    def _written(self) -> None:
        """What is given back of changed rows is the effective view of them."""
        query = returning(self.api, self.decision)
        self.questions += 1
        names = tuple(field.name for field in query.columns)
        if names != tuple(self.decision.fields):
            self._leak("", "returning", "a change gives back other fields than reading does")

    def _leak(self, field: str, channel: str, detail: str) -> None:
        self.leaks.append(Leak(self.actor.id, field, channel, detail))


def _shown(hide: Callable[[Any], Any] | None, value: Any) -> Any:
    """What is shown of a value; of cells that look different each time only that there is one."""
    if hide is None or value is None:
        return value if hide is None else hide(value)
    return "sealed" if getattr(hide, "varies", False) else hide(value)


def _told(work: Callable[[], object]) -> str:
    try:
        work()
    except Problem as problem:
        return f"{problem.code} {problem.detail} {problem.hint} {problem.errors}"
    return "answered"
