"""The effective view: an inner SELECT of the rows and cells that a caller may see, and the only thing it can ask of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.policy.values import family
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.publication import Api
from tongqu.meaning.fields import metadata
from tongqu.meaning.masks import KEYED, Mask, masked_value

if TYPE_CHECKING:
    from sqlglot import exp

declare({"field.masked": Kind(422, "the field is masked and can only be shown", "该字段已脱敏，只能显示")})

_TEXT_MASKS = frozenset(("name", "phone", "id_card", "bank_card", "email", "keep")) | KEYED
_KEPT = 256
Express = Callable[[Mask, "pa.Field[Any]"], "exp.Expr | None"]


@dataclass(frozen=True)
class Seen:
    """A field as the caller sees it. `field` is its name and type there; `after` replaces its values once they left the
    database, so that nothing can be compared with it; `partly`: it is null in rows where the caller may not see it."""

    field: pa.Field[Any]
    tree: exp.Expr
    mask: Mask | None = None
    after: Callable[[Any], Any] | None = None
    partly: bool = False

    @cached_property
    def family(self) -> str:
        """What kind of values it has (see `policy.values.family`)."""
        return family(self.field)

    @property
    def nullable(self) -> bool:
        """Whether it can be null."""
        return self.field.nullable or self.partly or self.mask is not None


class View:
    """The rows and fields of one API that one decision allows."""

    def __init__(self, api: Api, decision: Decision, express: Express) -> None:
        self.api, self.decision = api, decision
        self.fields: dict[str, Seen] = {}
        for field in api.dataset.schema:
            if field.name in decision.fields:
                self.fields[field.name] = _seen(field, decision, express)
        self.shapes: OrderedDict[Any, Any] = OrderedDict()
        """What was written over this view before, by its shape."""

    def seen(self, name: str, parameter: str = "") -> Seen:
        """A field; one that is hidden and one that is not there are the same Problem."""
        found = self.fields.get(name)
        if found is None:
            raise unknown(name, parameter)
        return found

    def kept(self, shape: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave for this shape; the very same object each time, while it is kept."""
        found = self.shapes.get(shape)
        if found is None:
            found = self.shapes[shape] = make()
            while len(self.shapes) > _KEPT:
                self.shapes.popitem(last=False)
        return found

    @property
    def key(self) -> tuple[str, ...]:
        """The key, if the caller sees all of it as it is; else nothing."""
        whole = [self.fields.get(name) for name in self.api.dataset.key]
        plain = all(one is not None and one.mask is None and not one.partly for one in whole)
        return self.api.dataset.key if plain else ()

    def select(self, names: Collection[str]) -> exp.Select:
        """The inner SELECT of some of the fields."""
        from sqlglot import exp

        made = [exp.alias_(one.tree, name, quoted=True) for name, one in self.fields.items() if name in names]
        tree = exp.select(*(made or [exp.alias_(exp.Literal.number(1), "_one", quoted=True)])).from_(
            self.source(), copy=False
        )
        rows = self.decision.rows
        return tree if rows is None else tree.where(rows.copy(), copy=False)

    def source(self) -> exp.Expr:
        """The table, or the approved SQL with its parameters as `arg_NAME`."""
        from sqlglot import exp

        if not self.api.sql:
            return table(self.api.table)
        tree = _approved(self.api.sql, self.api.server.dialect).copy()
        return exp.Subquery(this=tree, alias=exp.TableAlias(this=exp.to_identifier("s", quoted=True)))


def unknown(name: str, parameter: str = "") -> Problem:
    """The one answer to a name that is hidden or not there."""
    shown = name if len(name) <= 64 else name[:63] + "…"
    detail = f"there is no field {shown!r}"
    return Problem(
        "field.unknown", detail, errors=[{"parameter": parameter or shown, "code": "field.unknown", "detail": detail}]
    )


def unfit(name: str) -> Problem:
    """The answer to a question that would compare what is only masked after it left the database."""
    return Problem(
        "field.masked", f"{name!r} is masked: it can be shown, but not compared, ordered, grouped or counted"
    )


def table(name: str) -> exp.Table:
    """A table as servers know it: one identifier with the whole remote name."""
    from sqlglot import exp

    return exp.Table(this=exp.to_identifier(name, quoted=True))


_VIEWS: OrderedDict[tuple[int, str], View] = OrderedDict()


def view_of(api: Api, decision: Decision) -> View:
    """The view of a decision; the same object for decisions of one plan, whose SQL is the same."""
    if not decision.allowed:
        raise Problem("access.denied")
    key = (id(api), decision.plan)
    found = _VIEWS.get(key)
    if found is None or found.api is not api or not decision.plan:
        found = _VIEWS[key] = View(api, decision, api.server.mask)
        while len(_VIEWS) > _KEPT:
            _VIEWS.popitem(last=False)
    return found


def _seen(field: pa.Field[Any], decision: Decision, express: Express) -> Seen:
    from sqlglot import exp

    mask = decision.fields[field.name]
    tree: exp.Expr = exp.column(field.name, quoted=True)
    after: Callable[[Any], Any] | None = None
    shown = field
    if mask is not None:
        shown = _masked_field(field, mask)
        made = None if mask.with_ in KEYED else express(mask, field)
        if made is None:
            after = _after(mask, field, decision)
        else:
            tree = made
    cell = decision.cells.get(field.name)
    if cell is not None:
        tree = exp.Case(ifs=[exp.If(this=cell.copy(), true=tree)])
    return Seen(shown, tree, mask, after, cell is not None)


def _masked_field(field: pa.Field[Any], mask: Mask) -> pa.Field[Any]:
    told = {key: value for key, value in metadata(field).items() if key in (Meta.TITLE, Meta.OWNER, Meta.CLASS)}
    if mask.with_ in _TEXT_MASKS:
        return pa.field(field.name, pa.string(), metadata=dict(told) or None)
    return field.with_nullable(True)


def _after(mask: Mask, field: pa.Field[Any], decision: Decision) -> Callable[[Any], Any]:
    if mask.with_ not in KEYED:
        return lambda value: masked_value(mask, value)
    from tongqu.meaning.keyed_masks import Hider

    return Hider(mask, decision.secrets[mask.key or ""], field.type)


@lru_cache(maxsize=256)
def _approved(sql: str, dialect: str) -> exp.Expr:
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, read=dialect)
    for node in list(tree.find_all(exp.Placeholder)):
        node.set("this", f"arg_{node.name}")
    return tree
