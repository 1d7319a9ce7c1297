"""The conditions that a change of rows carries: which rows it may find, and what they must be like after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.core.server import Query
from tongqu.gateway.asking import Ask, Condition, Wanted
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.policy.predicates import both
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite.binding import Binding, arguments
from tongqu.gateway.rewrite.outputs import outputs
from tongqu.gateway.rewrite.trees import VIEW, Writer
from tongqu.gateway.rewrite.views import unknown, view_of

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True)
class Conditions:
    """`where`, `check` and `params` of a `core.server.Change`."""

    where: exp.Expr | None
    check: exp.Expr | None
    params: Mapping[str, Any]


def conditions(api: Api, decision: Decision, columns: Collection[str], where: Condition | None = None) -> Conditions:
    """Conditions of a change that sets `columns`, of the rows that `where` (the caller's filter) finds.

    `where` also holds the caller's row rule, and, where a field may be set only in some rows, that the row is one of
    them; `check` says both of the row as it is afterwards. A filter compares what the caller sees: a masked field by
    its masked value. Raises Problem `field.unknown` for a column the caller may not set, whether it is hidden or not
    there, and for a filter on a field it may not see; `value.invalid`; `access.denied`.
    """
    for name in columns:
        if name not in decision.writable:
            raise unknown(name)
    view = view_of(api, decision)
    ruled = [decision.settable[name].copy() for name in sorted(columns) if name in decision.settable]
    rule = both(decision.rows.copy() if decision.rows is not None else None, *ruled)
    params: dict[str, Any] = dict(decision.params)
    asked: exp.Expr | None = None
    if where is not None:
        bound: dict[str, Any] = {}
        binding = Binding(view, bound)
        shape = binding.condition(where)
        inline = {name: seen.tree for name, seen in view.fields.items()}
        asked = Writer("", {}, inline).condition(shape)
        params |= bound
    return Conditions(both(rule, asked), rule.copy() if rule is not None else None, params)


def returning(api: Api, decision: Decision, wanted: tuple[Wanted, ...] | None = None) -> Query:
    """What is given back of changed rows: the caller's effective view of them, without aggregates. `decision` is the
    one to read; rows that it does not allow are not given back."""
    view = view_of(api, decision)
    params: dict[str, Any] = {}
    binding = Binding(view, params)
    columns = outputs(Ask(wanted=wanted), binding)
    if any(one.aggregate for one in columns):
        raise Problem("query.malformed", "what is given back of a change has no aggregates")
    params |= {**decision.params} | {f"arg_{name}": value for name, value in arguments(api, {}).items()}
    after = {one.name: one.after for one in columns if one.after is not None}
    used = frozenset(binding.used)

    def made() -> exp.Expr:
        from sqlglot import exp

        writer = Writer(VIEW, {})
        trees = [exp.alias_(one.tree(writer), one.name, quoted=True) for one in columns]
        return exp.select(*trees).from_(view.select(used).subquery(VIEW, copy=False))

    tree = view.kept(("returning", tuple(one.key for one in columns), used), made)
    return Query(tree, params, tuple(one.field for one in columns), 0, after)
