"""The rewriter's trees as SQL of an embedded database, kept, so that no known question is written again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel

from tongqu.core.errors import ExpressionError
from tongqu.kit.serving.trees import WIDE

Stands = Callable[[str], "exp.Expr | None"]
"""What stands for a dataset of this name in FROM: a table or a subquery without alias; None: what the tree says."""


@dataclass(frozen=True)
class Statement:
    """SQL with named placeholders, and the names it uses."""

    sql: str
    names: tuple[str, ...]

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values that the statement wants, and no others. Raises ExpressionError if one was not given."""
        try:
            return {name: params[name] for name in self.names}
        except KeyError as error:
            raise ExpressionError(f"the parameter {error.args[0]!r} has no value") from None


class Statements:
    """The SQL of trees, by their identity. `changed` may alter a copy of the tree before it is written."""

    def __init__(
        self, dialect: str | type[Dialect], stands: Stands, changed: Callable[[exp.Expr], exp.Expr] | None = None
    ):
        self._dialect, self._stands, self._changed = dialect, stands, changed
        self._kept: OrderedDict[int, tuple[exp.Expr, Statement]] = OrderedDict()
        self._lock = Lock()
        self._most = 512

    def forget(self) -> None:
        """Write all of them anew: tables are not what they were."""
        with self._lock:
            self._kept.clear()

    def kept(self, tree: exp.Expr) -> Statement | None:
        """The statement of a tree, if it was written before."""
        with self._lock:
            found = self._kept.get(id(tree))
            if found is not None:
                self._kept.move_to_end(id(tree))
            return found[1] if found is not None else None

    def of(self, tree: exp.Expr) -> Statement:
        """The statement of a tree that nobody changes any more."""
        before = self.kept(tree)
        if before is not None:
            return before
        made = self.written(tree)
        if len(made.names) > WIDE:
            return made
        with self._lock:
            self._kept[id(tree)] = (tree, made)  # the tree is held, so that its identity is not given to another
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def written(self, tree: exp.Expr, stands: Stands | None = None) -> Statement:
        """The statement of any tree; `stands` goes before what is known of datasets."""
        # a tree may itself be replaced where it is a table: it is written inside of something
        copy: exp.Expr = exp.Paren(this=tree.copy())
        own = {cte.alias for cte in copy.find_all(exp.CTE)}
        for table in list(copy.find_all(exp.Table)):
            if table.db or not isinstance(table.this, exp.Identifier) or table.name in own:
                continue
            found = (stands(table.name) if stands is not None else None) or self._stands(table.name)
            if found is not None:
                _put(table, found.copy())
        if self._changed is not None:
            copy = self._changed(copy)
        names = tuple(dict.fromkeys(str(hole.this) for hole in copy.find_all(exp.Placeholder)))
        return Statement(copy.this.sql(dialect=self._dialect, unsupported_level=ErrorLevel.IGNORE), names)


def _put(table: exp.Table, found: exp.Expr) -> None:
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
    found.set("alias", alias.copy())
    if table.args.get("joins"):
        found.set("joins", table.args["joins"])
    table.replace(found)


def columns_as(table: exp.Expr, columns: Mapping[str, exp.Expr]) -> exp.Subquery:
    """A table with each column as the expression given for it."""
    made = [exp.alias_(column.copy(), name, quoted=True) for name, column in columns.items()]
    return exp.Subquery(this=exp.select(*made).from_(table))


def over_columns(condition: exp.Expr, columns: Mapping[str, exp.Expr]) -> exp.Expr:
    """A condition over a table's columns, each as the expression given for it; subqueries stay as they are."""
    tree: exp.Expr = exp.Paren(this=condition.copy())
    for column in list(tree.find_all(exp.Column)):
        compared = columns.get(column.name)
        if compared is not None and not isinstance(compared, exp.Column) and column.find_ancestor(exp.Query) is None:
            column.replace(compared.copy())
    return tree
