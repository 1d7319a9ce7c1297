"""The one writing service of all protocols: who may change what, checked rows, one transaction, one effect per key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import orjson

from tongqu.core.errors import (
    AccessError,
    BusyError,
    CastError,
    DuplicateError,
    NotFoundError,
    RefusedRowsError,
    SupersededError,
    UnknownOutcomeError,
)
from tongqu.core.policy import Actor
from tongqu.core.server import Change, Idempotency, Limits, Outcome, Query
from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Wanted
from tongqu.gateway.exchange import Notes
from tongqu.gateway.faults import told
from tongqu.gateway.ledger import Ledger
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.policy.values import family
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.reading import Reader, decided
from tongqu.gateway.related import node_of, tied
from tongqu.gateway.replaying import replayed, shown_again, stored_of
from tongqu.gateway.rewrite import Conditions, conditions, returning
from tongqu.gateway.tracing import step
from tongqu.gateway.validating import Schemas, writable
from tongqu.kit.serving.texts import dumps, parsed

if TYPE_CHECKING:
    from sqlglot import exp

declare(
    {
        "write.unfiltered": Kind(
            400, "a change of all rows is refused: filter them", "拒绝修改全部数据：请给出筛选条件"
        ),
        "write.too_many": Kind(422, "more rows would be changed than allowed", "将修改的行数超过限制"),
    }
)
Verb = Literal["insert", "upsert", "ignore", "update", "delete"]
ACTIONS: dict[Verb, tuple[Action, ...]] = {
    "insert": ("insert",), "ignore": ("insert",), "upsert": ("insert", "update"), "update": ("update",),
    "delete": ("delete",),
}  # fmt: skip
_COMPARED = ("int", "decimal", "text", "bool", "date", "timestamp", "instant", "time", "uuid", "binary")
_NOTHING_DONE = frozenset((
    "access.denied", "key.missing", "key.reused", "key.running", "overloaded", "row.changed", "row.conflict",
    "row.unknown", "value.invalid", "write.too_many",
))  # fmt: skip
"""Refusals after which no row can have been changed; after others nobody knows."""
_STORED_REFUSALS = ("row.conflict", "value.invalid", "write.too_many", "row.unknown", "row.changed")


@dataclass(frozen=True)
class Edit:
    """One change of an API's rows.

    `rows` are new rows, or the one row of values that `update` sets. `where` are the caller's conditions; an update or
    delete without any is refused. `conflict` names the fields by which upserts find rows (default: the key).
    `returning` is what is wanted of the rows touched, None: nothing. `columns` restricts which fields of the rows are
    taken, `missing` is what fields become that only some rows have; `whole`: fields that are not given become null,
    where they can. `texts`: values are texts (CSV, XML). `single`: the body was one row. `one`: exactly one row must be
    touched. `most` bounds how many may be.
    `unmodified` is given the row as the caller sees it now, in JSON, and says whether it is still the one the caller
    knows; between that look and the change nobody can have changed a field that the caller sees as it is.
    """

    verb: Verb
    rows: Sequence[Mapping[str, Any]] = ()
    where: Condition | None = None
    conflict: tuple[str, ...] = ()
    returning: Ask | None = None
    columns: tuple[str, ...] | None = None
    missing: Literal["null", "default", "refuse"] = "refuse"
    texts: bool = False
    single: bool = False
    one: bool = False
    whole: bool = False
    most: int | None = None
    unmodified: Callable[[bytes, Decision], bool] | None = None


@dataclass(frozen=True)
class Written:
    """What became of an edit. `body` is the JSON array of the rows given back, as the caller sees them. `keys` are the
    keys of new rows, as texts, where they are known. `replayed`: an earlier request of the same key did it."""

    touched: int
    inserted: int
    body: bytes = b""
    keys: Sequence[Sequence[str]] = ()
    replayed: bool = False
    decision: Decision | None = None


class Writer:
    """Writes published APIs. `reader` is used for the rows that changes give back, `ledger` is told of every change."""

    def __init__(self, reader: Reader, ledger: Ledger | None = None) -> None:
        self._reader = reader
        self._ledger = ledger
        self._schemas = Schemas()

    async def write(
        self,
        api: Api,
        actor: Actor,
        edit: Edit,
        idempotency: Idempotency | None,
        notes: Notes,
        *,
        within: Publication | None = None,
    ) -> Written:
        """Make the change, all of it or nothing, in one transaction with the idempotency key.

        Raises Problem: `auth.missing`, `api.unknown`, `access.denied`, `method.refused` (the API cannot be written so),
        `field.unknown` (not there, hidden, or not to be set: the same), `body.invalid`, `row.conflict`, `row.changed`,
        `row.unknown` (`one`, and there is none), `value.invalid` (the database refuses), `key.missing`, `key.running`,
        `key.reused`, `write.*`. A refusal learnt from the database is kept under the key too and comes again.
        """
        notes.api, notes.version, notes.action, notes.policy = api.name, api.version, edit.verb, api.policy.version
        decisions = [decided(api, actor, action) for action in ACTIONS[edit.verb]]
        _open(api, edit)
        if idempotency is None and api.entry.write.idempotency == "required":
            raise Problem("key.missing", "send an Idempotency-Key header")
        giving = await self._giving(api, actor, edit, within)
        try:
            edit = await self._guarded(api, actor, edit)
        except Problem as problem:  # it may be this very request that changed the row, when it came first
            if idempotency is None or problem.code not in _STORED_REFUSALS:
                raise
            stored = shown_again(await _known(api, idempotency, problem), giving.sight, edit.returning is not None)
            return await self._given(stored, giving, edit)
        changes = self._changes(api, decisions, edit, giving)
        notes.fields = sorted({column.name for change in changes for column in change.columns})
        if not changes:
            return Written(0, 0, b"[]" if edit.returning is not None else b"", decision=giving.decision)
        begun = self._ledger.began(api) if self._ledger is not None else 0
        try:
            stored = await self._done(api, changes, edit, idempotency, giving.sight)
            stored = shown_again(stored, giving.sight, edit.returning is not None)
        except Problem as problem:
            if self._ledger is not None and problem.code in _NOTHING_DONE:
                self._ledger.undone(begun)
            raise
        notes.rows = stored["touched"]
        written = await self._given(stored, giving, edit)
        if self._ledger is not None:
            self._ledger.done(begun, api, edit, changes, written)
        return written

    async def _giving(self, api: Api, actor: Actor, edit: Edit, within: Publication | None) -> _Giving:
        decision = api.policy.decide(actor, "read")
        if not decision.allowed:
            if edit.returning is not None:
                raise Problem(
                    "access.denied", "rows of this API may be written, not read: send `Prefer: return=minimal`"
                )
            return _Giving(None, None, None)
        node = node_of(api, decision, edit.returning or Ask(), actor=actor, within=within)
        key = [name for name in api.dataset.key if decision.fields.get(name, ()) is None]
        if edit.returning is not None:
            return _Giving(decision, node, returning(api, decision, tied(node).wanted))
        asked = edit.verb in ("insert", "upsert", "ignore") or self._ledger is not None
        if asked and key and len(key) == len(api.dataset.key):
            return _Giving(decision, None, returning(api, decision, tuple(Wanted(name) for name in key)))
        return _Giving(decision, None, None)

    async def _guarded(self, api: Api, actor: Actor, edit: Edit) -> Edit:
        """The edit with conditions on the row as it is now, where it must be one that the caller knows."""
        if edit.unmodified is None:
            return edit
        ask = Ask(where=edit.where, limit=2)
        now = await self._reader.read(api, actor, ask, "json", Notes(), fresh=True)
        if now.rows != 1 or not edit.unmodified(now.body, now.decision):
            raise Problem("row.changed")
        row = parsed(now.body.decode())[0]
        parts: list[Condition] = [edit.where] if edit.where is not None else []
        for name, mask in now.decision.fields.items():
            field = api.dataset.schema.field(name)
            if mask is None and name not in now.decision.cells and family(field) in _COMPARED:
                same = Compare(name, "is", "null") if row[name] is None else Compare(name, "eq", row[name])
                parts.append(same)
        return replace(edit, where=Joined("and", tuple(parts)), one=True)

    def _changes(self, api: Api, decisions: Sequence[Decision], edit: Edit, giving: _Giving) -> list[Change]:
        if edit.verb == "delete":
            held = conditions(api, decisions[0], (), edit.where)
            return [_change(api, edit, (), (), held=held, giving=giving)]
        names = frozenset.intersection(*(decision.writable for decision in decisions))
        rows = _taken(edit)
        if edit.whole:
            blank = {name: None for name, field in writable(api, names).items() if field.nullable}
            rows = [{**{name: None for name in blank if name not in api.dataset.key}, **row} for row in rows]
        if len(rows) > api.entry.limit.rows:
            raise Problem("body.invalid", f"at most {api.entry.limit.rows} rows can be written at once")
        whole = edit.verb != "update"
        typed = self._schemas.typed(api, names, rows, whole=whole, texts=edit.texts, single=edit.single)
        groups: dict[tuple[str, ...], list[list[Any]]] = {}
        for row in typed:
            groups.setdefault(tuple(row), []).append(list(row.values()))
        if not whole and not any(groups):
            return []
        changes = []
        for columns, values in groups.items():
            held = _both(
                [conditions(api, decision, columns, edit.where if not whole else None) for decision in decisions]
            )
            changes.append(_change(api, edit, columns, values, held=held, giving=giving))
        return changes

    async def _done(
        self, api: Api, changes: Sequence[Change], edit: Edit, idempotency: Idempotency | None, sight: str
    ) -> dict[str, Any]:
        def answer(outcome: Outcome) -> bytes:
            return orjson.dumps({**stored_of(outcome, changes), "sight": sight})

        try:
            with step("transact", api=api.path, connection=api.connection):
                outcome = await api.server.transact(changes, _limits(api), idempotency, answer)
        except _REFUSED as error:
            problem = _problem(error, edit, idempotency)
            if idempotency is not None and problem.code in _STORED_REFUSALS:
                return await _known(api, idempotency, problem)
            raise problem from None
        return stored_of(outcome, changes) if outcome.replayed is None else replayed(outcome.replayed)

    async def _given(self, stored: Mapping[str, Any], giving: _Giving, edit: Edit) -> Written:
        body = stored["body"].encode()
        keys: list[list[str]] = []
        if edit.returning is None and body:
            found = [list(row.values()) for row in parsed(body.decode())]
            keys = [[one if isinstance(one, str) else dumps(one).decode() for one in row] for row in found]
            body = b""
        elif giving.node is not None and giving.node.branches:
            objects = parsed(body.decode())
            names = [item.name or item.field for item in tied(giving.node).wanted or ()]
            body = dumps(await self._reader.embedded(giving.node, names, [list(row.values()) for row in objects]))
        return Written(stored["touched"], stored["inserted"], body, keys, bool(stored.get("replayed")), giving.decision)


@dataclass(frozen=True)
class _Giving:
    """What is given back of the rows touched."""

    decision: Decision | None
    node: Any
    query: Query | None

    @property
    def sight(self) -> str:
        """What stands for all that the caller may see now: what was kept under other rights is not given again."""
        return self.decision.fingerprint if self.decision is not None else ""


_REFUSED = (
    AccessError, BusyError, CastError, DuplicateError, NotFoundError, RefusedRowsError, UnknownOutcomeError,
)  # fmt: skip


def _open(api: Api, edit: Edit) -> None:
    """Whether the API takes such changes at all, and the edit says which rows it means."""
    may = api.entry.write
    open_to = {"insert": may.insert, "ignore": may.insert, "upsert": may.insert and may.update,
               "update": may.update, "delete": may.delete}  # fmt: skip
    if not api.table or not open_to[edit.verb]:
        raise Problem("method.refused", "rows of this API cannot be changed in this way")
    if edit.verb in ("update", "delete") and edit.where is None:
        raise Problem("write.unfiltered")
    if edit.verb in ("upsert", "ignore") and not (edit.conflict or api.dataset.key):
        raise Problem("query.malformed", "the API has no key: name the fields that identify a row in `on_conflict`")


def _taken(edit: Edit) -> list[dict[str, Any]]:
    """The rows with the fields that are taken of them, all with the same ones unless missing ones get their default."""
    rows = [dict(row) for row in edit.rows]
    if edit.columns is not None:
        taken = set(edit.columns)
        rows = [{name: value for name, value in row.items() if name in taken} for row in rows]
    names = dict.fromkeys([*(edit.columns or ()), *(name for row in rows for name in row)])
    if edit.verb == "update" or edit.missing == "default" or all(len(row) == len(names) for row in rows):
        return rows
    if edit.missing == "refuse" and edit.columns is None:
        raise Problem(
            "body.invalid",
            "the rows have different fields",
            hint="name them in `columns`, or send `Prefer: missing=default`",
        )
    return [{name: row.get(name) for name in names} for row in rows]


def _change(
    api: Api,
    edit: Edit,
    columns: Collection[str],
    values: Sequence[Sequence[Any]],
    *,
    held: Conditions,
    giving: _Giving,
) -> Change:
    conflict = _conflict(api, edit, columns)
    expected = 1 if edit.one else len(values) if edit.verb == "upsert" else None
    return Change(
        edit.verb, api.table, tuple(api.dataset.schema.field(name) for name in columns), values,
        where=held.where, check=held.check if edit.verb != "delete" else None, params=held.params,
        conflict=conflict, returning=giving.query, expected=expected, limit=edit.most,
    )  # fmt: skip


def _conflict(api: Api, edit: Edit, columns: Collection[str]) -> tuple[str, ...]:
    """The fields that a row which is there is found by: the key, or those of another unique constraint."""
    if edit.verb not in ("upsert", "ignore"):
        return ()
    conflict = edit.conflict or api.dataset.key
    for name in conflict:
        if name not in columns:
            raise Problem("body.invalid", f"`{name}` identifies the rows and must be given")
    unique = [api.dataset.key, *(index.columns for index in api.dataset.indexes if index.unique)]
    if set(conflict) not in (set(names) for names in unique):
        raise Problem("query.malformed", "`on_conflict` names the key, or the fields of another unique constraint")
    return tuple(conflict)


def _both(held: Sequence[Conditions]) -> Conditions:
    """The conditions of an upsert: rows it finds are bound by what updates are, rows after it by both."""
    if len(held) == 1:
        return held[0]
    from sqlglot import exp

    inserting, updating = held
    renamed = {name: f"new_{name}" for name in inserting.params}
    checks = [check for check in (_renamed(inserting.check, renamed), updating.check) if check is not None]
    params = {**updating.params, **{renamed[name]: value for name, value in inserting.params.items()}}
    return Conditions(updating.where, exp.and_(*checks) if checks else None, params)


def _renamed(tree: exp.Expr | None, names: Mapping[str, str]) -> exp.Expr | None:
    from sqlglot import exp

    if tree is None:
        return None
    made = tree.copy()
    for hole in made.find_all(exp.Placeholder):
        hole.set("this", names.get(hole.name, hole.name))
    return made


async def _known(api: Api, idempotency: Idempotency, problem: Problem) -> dict[str, Any]:
    """What the key stands for already; if nothing, it stands for the refusal from now on, which is raised."""
    text = orjson.dumps({"problem": {"code": problem.code, "detail": problem.detail}})
    try:
        outcome = await api.server.transact((), _limits(api), idempotency, lambda _: text)
    except _REFUSED:  # somebody else has the key meanwhile: what they do is what comes next time
        raise problem from None
    if outcome.replayed is None:
        raise problem
    return replayed(outcome.replayed)


def _limits(api: Api) -> Limits:
    return Limits(seconds=api.entry.limit.seconds, rows=api.entry.limit.rows)


def _problem(error: Exception, edit: Edit, idempotency: Idempotency | None) -> Problem:
    if isinstance(error, SupersededError):
        return Problem("key.reused")
    if isinstance(error, BusyError):
        return Problem("key.running" if idempotency is not None else "overloaded")
    if isinstance(error, DuplicateError):
        return Problem("row.conflict")
    if isinstance(error, AccessError):
        return Problem("access.denied", "a row would be none that you may write")
    if isinstance(error, NotFoundError) and edit.verb == "upsert":
        return Problem("row.conflict")
    if isinstance(error, NotFoundError) and edit.one:
        return Problem("row.changed" if edit.unmodified is not None else "row.unknown")
    if isinstance(error, RefusedRowsError) and "limit" in error.params:
        return Problem("write.too_many", f"more than {edit.most} rows")
    if isinstance(error, RefusedRowsError | CastError):
        return Problem("value.invalid", "the database refuses the rows: a rule of the table is not fulfilled")
    return told(error)
