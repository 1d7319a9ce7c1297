"""Compiles the access rules of one API, and decides by them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from threading import Lock
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.policy import Actor
from tongqu.gateway.policy.conditions import Rule, Truth, rule
from tongqu.gateway.policy.conflicts import conflicts
from tongqu.gateway.policy.deciding import Deciding, refused
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.policy.field_rules import FieldRule, field_rules
from tongqu.gateway.policy.grants import Grant, grants
from tongqu.gateway.policy.scopes import admitted
from tongqu.gateway.policy.settings import Access

_KEPT = 4096
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment that decisions are made at where no rule asks for it."""


def compile_policy(
    access: Access,
    dataset: Dataset,
    *,
    now: Callable[[], datetime],
    zone: tzinfo = UTC,
    secret: Callable[[str], bytes] | None = None,
    columns: pa.Schema | None = None,
    path: str = "",
    name: str = "",
    reviewers: Collection[str] | None = None,
) -> CompiledPolicy:
    """The policy that `access` states over the published `dataset` (class and mask of each field in its metadata).

    `now` gives an aware instant, `zone` is the project's time zone (hours are in it), `secret` resolves the references
    of mask keys. `columns` are all of the source's,
    where not all are published: row rules may use them. `path` is where `access` stands (for errors), `name` the API's
    as scopes say it. `reviewers` are those of a draft: nobody else reads, and nobody writes.
    Raises ExpressionError with a caret for a rule outside the small language of rules, UnknownNameError for a field
    that the dataset does not have, InvalidPlanError for a mask that does not fit its field.
    """
    fields, keys = field_rules(access, dataset, secret, path)
    columns = _united(dataset.schema, columns)
    rows = rule(access.rows, columns, f"{path}.rows") if access.rows is not None else Truth(True)
    shape = [(f.name, str(f.type), sorted((f.metadata or {}).items())) for f in (*dataset.schema, *columns)]
    told = json.dumps([access.model_dump(mode="json", by_alias=True), repr(shape), str(zone)], sort_keys=True)
    digest = hashlib.sha256(told.encode())
    for reference in sorted(keys):
        digest.update(hashlib.sha256(keys[reference]).digest())
    return CompiledPolicy(
        digest.hexdigest()[:16], fields, grants(access, dataset, columns, path), rows, keys, columns, now, zone, name,
        frozenset(reviewers) if reviewers is not None else None,
    )  # fmt: skip


class CompiledPolicy:
    """Access rules of one API. Decisions are kept by everything they depend on; safe for several threads.

    A cell is shown if some allowing rule that fits shows both its row and its field; `access.rows` holds in addition to
    all of them, and what a denying rule fits is taken from all. Roles therefore only ever add, except where a denying
    rule names them.
    """

    def __init__(  # noqa: PLR0917  what it is compiled to
        self,
        version: str,
        fields: tuple[FieldRule, ...],
        given: Sequence[Grant],
        rows: Rule,
        keys: Mapping[str, bytes],
        columns: pa.Schema,
        now: Callable[[], datetime],
        zone: tzinfo,
        name: str = "",
        reviewers: frozenset[str] | None = None,
    ) -> None:
        self.version = version
        self.conflicts = conflicts(fields, given)
        self.fields, self.grants, self.rows = fields, tuple(given), rows
        self.columns = columns
        self.name = name
        self.reviewers = reviewers
        self._keys, self._now, self._zone = dict(keys), now, zone
        self.timed = any(grant.hours is not None or grant.when is not None for grant in given)
        self._kept: OrderedDict[Any, Decision] = OrderedDict()
        self._frozen: tuple[Mapping[str, Any], tuple[Any, ...]] = ({}, ())
        self._lock = Lock()

    def decide(self, actor: Actor, action: Action) -> Decision:
        """The decision for an actor at this moment; pure and cheap (kept per role set)."""
        if self.reviewers is not None and not (action == "read" and reviews(actor.id, actor.roles, self.reviewers)):
            return refused(action, "a draft is read by its reviewers, and changed with made-up rows only", ())
        if not admitted(actor.scopes, self.name, action):
            return refused(action, "the scope of the token does not hold it", ())
        sees = admitted(actor.scopes, self.name, "read")
        now = self._now().astimezone(self._zone) if self.timed else _NEVER
        fitting = tuple([grant.fits(actor, now) for grant in self.grants])
        key = (action, sees, actor.roles, actor.purpose, fitting, self._told(actor.attributes))
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        chosen = [grant for grant, fits in zip(self.grants, fitting, strict=True) if fits]
        decision = Deciding(self.fields, self.rows, actor, chosen, sees).decision(action, self.version, self._keys)
        with self._lock:
            self._kept[key] = decision
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return decision

    def opened(self) -> CompiledPolicy:
        """See Policy."""
        if self.reviewers is None:
            return self
        told = (self.version, self.fields, self.grants, self.rows, self._keys, self.columns, self._now, self._zone)
        return CompiledPolicy(*told, self.name)

    def _told(self, attributes: Mapping[str, Any]) -> tuple[Any, ...]:
        """The attributes as part of a key; those of one client are the same unchanging object from call to call."""
        kept = self._frozen
        if kept[0] is attributes:
            return kept[1]
        told = _frozen(attributes)
        if isinstance(attributes, MappingProxyType):
            self._frozen = (attributes, told)
        return told


def reviews(who: str, roles: Collection[str], reviewers: Collection[str]) -> bool:
    """Whether somebody is among the reviewers of a draft: by name (`user:zhang`) or by a role (`role:quality`)."""
    return who in reviewers or any(f"role:{role}" in reviewers for role in roles)


def _united(published: pa.Schema, columns: pa.Schema | None) -> pa.Schema:
    """All columns, the published ones as the API knows them."""
    if columns is None:
        return published
    return pa.schema([*published, *(field for field in columns if field.name not in published.names)])


def _frozen(attributes: Mapping[str, Any]) -> tuple[Any, ...]:
    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return ("list", *map(plain, value))
        if isinstance(value, set | frozenset):
            return ("list", *map(plain, sorted(value)))
        return type(value).__name__, value

    return tuple(sorted((name, plain(value)) for name, value in attributes.items()))
