"""Decides for rows that come as values, not from a table, whether a subscriber may see them, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.gateway.asking import Ask
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite.binding import Binding, arguments, chosen
from tongqu.gateway.rewrite.outputs import outputs
from tongqu.gateway.rewrite.trees import VIEW, Writer, column
from tongqu.gateway.rewrite.views import View, table
from tongqu.meaning.masks import Mask, masked
from tongqu.meaning.sandbox import ROW_COLUMN, open_sandbox

if TYPE_CHECKING:
    from sqlglot import exp


class RowFilter:
    """A question and a decision, applied to Arrow rows in memory. Not safe for several threads at once."""

    def __init__(self, ask: Ask, api: Api, decision: Decision) -> None:
        from sqlglot import exp

        if not decision.allowed:
            raise Problem("access.denied")
        schema = api.dataset.schema

        def express(mask: Mask, field: pa.Field[Any]) -> exp.Expr:
            return masked(mask, field.name, schema)

        view = View(api, decision, express)
        params: dict[str, Any] = {}
        binding = Binding(view, params)
        made = outputs(ask, binding)
        if any(one.aggregate for one in made):
            raise Problem("query.malformed", "a subscription gives rows, no aggregates")
        where = chosen(ask, binding)
        arguments(api, ask.arguments)
        self.columns = tuple(one.field for one in made)
        self._after = [one.after for one in made]
        writer = Writer(VIEW, {})
        inner = view.select(binding.used).from_(table("input"))
        inner = inner.select(exp.column(ROW_COLUMN, quoted=True), copy=False)
        trees = [exp.alias_(one.tree(writer), one.name, quoted=True) for one in made]
        tree = exp.select(column(ROW_COLUMN), *trees).from_(inner.subquery(VIEW, copy=False))
        if where is not None:
            tree = tree.where(writer.condition(where))
        self._sql = tree.order_by(column(ROW_COLUMN)).sql("duckdb")
        self._names = {node.name for node in tree.find_all(exp.Column)}
        names = {node.name for node in tree.find_all(exp.Placeholder)}
        self._params = {name: value for name, value in (params | dict(decision.params)).items() if name in names}
        self._database = open_sandbox(threads=1, memory_mb=128)

    def rows(self, given: pa.Table) -> tuple[list[int], pa.Table]:
        """The places of the rows that the caller may see and asked for, and what it sees of them, in order. `given` has
        at least the columns that the question and the caller's rules use."""
        places = pa.array(range(given.num_rows), pa.int64())
        used = [name for name in given.column_names if name in self._names]
        self._database.register("input", given.select(used).append_column(ROW_COLUMN, places))
        try:
            found: pa.Table = self._database.sql(self._sql, params=self._params or None).to_arrow_table()
        finally:
            self._database.unregister("input")
        made = []
        for number, (field, after) in enumerate(zip(self.columns, self._after, strict=True), start=1):
            values = found.column(number)
            if after is not None:
                values = pa.chunked_array([pa.array([after(value) for value in values.to_pylist()], field.type)])
            made.append(values.cast(field.type))
        kept: list[Any] = found.column(0).to_pylist()
        return kept, pa.table(made, schema=pa.schema(self.columns))

    def close(self) -> None:
        """Release the memory; may be called twice."""
        self._database.close()


def filtered_view(ask: Ask, api: Api, decision: Decision) -> RowFilter:
    """The filter of one subscription; order, limit and cursor of the question are not looked at. Raises as `rewrite`
    does; relations are not known here."""
    return RowFilter(ask, api, decision)
