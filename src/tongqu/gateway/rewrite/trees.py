"""Second half of rewriting: a shape becomes a tree over the effective view; its leaves are columns and placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.gateway.publication import Relation
from tongqu.gateway.rewrite.binding import Shape
from tongqu.gateway.rewrite.views import View

if TYPE_CHECKING:
    from sqlglot import exp

VIEW = "v"
"""Alias of the effective view in every query."""


def column(name: str, table: str = VIEW) -> exp.Expr:
    """A field of the view."""
    from sqlglot import exp

    return exp.column(name, table=table or None, quoted=True)


def hole(name: str) -> exp.Expr:
    """A placeholder."""
    from sqlglot import exp

    return exp.Placeholder(this=name)


def renamed(tree: exp.Select, prefix: str) -> exp.Select:
    """The tree with a prefix before the name of each placeholder."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Placeholder)):
        node.set("this", prefix + node.name)
    return tree


class Writer:
    """Writes shapes over one alias of a view. `joins` are the related views by the prefix of their placeholders;
    `inline` are trees that stand for fields where there is no view around (changes)."""

    def __init__(
        self, alias: str, joins: Mapping[str, tuple[View, Relation]], inline: Mapping[str, exp.Expr] | None = None
    ) -> None:
        self.alias, self.joins, self.inline = alias, joins, inline

    def target(self, shape: Shape) -> exp.Expr:
        """A field, a step into its JSON."""
        from sqlglot import exp

        name = shape[1]
        tree = column(name, self.alias) if self.inline is None else self.inline[name].copy()
        if shape[0] == "field":
            return tree
        _, _, path, text = shape
        for place, step in enumerate(path):
            part: exp.Expr = exp.JSONPathSubscript(this=int(step)) if step.isdigit() else exp.JSONPathKey(this=step)
            kind = exp.JSONExtractScalar if text and place == len(path) - 1 else exp.JSONExtract
            steps = exp.JSONPath(expressions=[exp.JSONPathRoot(), part])
            tree = kind(this=exp.paren(tree) if place else tree, expression=steps, only_json_types=True)
        return tree

    def condition(self, shape: Shape) -> exp.Expr:
        """A condition."""
        from sqlglot import exp

        word = shape[0]
        if word in ("and", "or"):
            parts = [exp.paren(self.condition(one)) for one in shape[1:]]
            if not parts:
                return exp.Boolean(this=word == "and")
            return parts[0] if len(parts) == 1 else (exp.and_(*parts) if word == "and" else exp.or_(*parts))
        if word == "not":
            return exp.Not(this=exp.paren(self.condition(shape[1])))
        if word == "false":
            return exp.Boolean(this=False)
        if word == "exists":
            return self._exists(shape)
        if word == "is":
            return self._is(self.target(shape[1]), shape[2])
        if word == "in":
            return exp.In(this=self.target(shape[1]), expressions=[hole(name) for name in shape[2:]])
        compared: exp.Expr = _COMPARISONS[word](self.target(shape[1]), hole(shape[2]))
        return compared

    @staticmethod
    def _is(target: exp.Expr, value: str) -> exp.Expr:
        from sqlglot import exp

        if value in ("null", "unknown"):
            return exp.Is(this=target, expression=exp.Null())
        if value == "not_null":
            return exp.Not(this=exp.Is(this=target, expression=exp.Null()))
        return exp.Is(this=target, expression=exp.Boolean(this=value == "true"))

    def _exists(self, shape: Shape) -> exp.Expr:
        from sqlglot import exp

        _, prefix, _, inside, used = shape
        view, relation = self.joins[prefix]
        alias = prefix.rstrip("_")
        here = Writer(self.alias, {}, self.inline)
        ties: list[exp.Expr] = [
            exp.EQ(this=column(there, alias), expression=here.target(("field", name)))
            for name, there in relation.on.items()
        ]
        tree = exp.select(exp.Literal.number(1)).from_(renamed(view.select(used), prefix).subquery(alias, copy=False))
        if inside is not None:
            ties.append(exp.paren(Writer(alias, {}).condition(inside)))
        return exp.Exists(this=tree.where(*ties))


def _compared(kind: str) -> Any:
    def made(left: exp.Expr, right: exp.Expr) -> exp.Expr:
        from sqlglot import exp

        tree: exp.Expr = getattr(exp, kind)(this=left, expression=right)
        return tree

    return made


def _matched(kind: str) -> Any:
    def made(left: exp.Expr, right: exp.Expr) -> exp.Expr:
        from sqlglot import exp

        return exp.Escape(this=getattr(exp, kind)(this=left, expression=right), expression=exp.Literal.string("\\"))

    return made


def _contained(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.ArrayContainsAll(this=right, expression=left)


_COMPARISONS = {
    "eq": _compared("EQ"), "neq": _compared("NEQ"), "gt": _compared("GT"), "gte": _compared("GTE"),
    "lt": _compared("LT"), "lte": _compared("LTE"), "isdistinct": _compared("NullSafeNEQ"),
    "like": _matched("Like"), "ilike": _matched("ILike"), "match": _compared("RegexpLike"),
    "imatch": _compared("RegexpILike"), "cs": _compared("ArrayContainsAll"), "cd": _contained,
    "ov": _compared("ArrayOverlaps"),
}  # fmt: skip
