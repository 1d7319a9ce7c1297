"""Refuses queries that the database expects to cost too much, and remembers what a shape of query costs."""

from __future__ import annotations

from collections import OrderedDict

from tongqu.core.server import Cost
from tongqu.gateway.problems import Problem


class CostGate:
    """A bound on the cost of one query. `limit` None: none."""

    def __init__(self, limit: float | None):
        self.limit = limit

    def check(self, cost: Cost) -> None:
        """Raise Problem `query.costly` if the query would cost more; the caller hears no figure and no plan."""
        if self.limit is not None and not cost.total <= self.limit:
            raise Problem("query.costly", "ask for fewer rows or filter by more fields")


class Shapes:
    """What queries of a shape cost, so that only the first of each is explained. `now` in seconds, monotonic.

    A shape is the SQL with its placeholders, not its values: one whose cost came within a tenth of the limit is
    explained every time (`near`), since other values may go beyond it.
    """

    def __init__(self, most: int = 2000, seconds: float = 60.0):
        self._most = most
        self._seconds = seconds
        self._costs: OrderedDict[str, tuple[float, Cost]] = OrderedDict()

    def get(self, shape: str, gate: CostGate, now: float) -> Cost | None:
        """The shape's cost if it is known, fresh and far from the gate's limit."""
        found = self._costs.get(shape)
        if found is None or now - found[0] > self._seconds:
            return None
        if gate.limit is not None and found[1].total > gate.limit * 0.1:
            return None
        self._costs.move_to_end(shape)
        return found[1]

    def put(self, shape: str, cost: Cost, now: float) -> None:
        """Remember a cost."""
        self._costs[shape] = (now, cost)
        self._costs.move_to_end(shape)
        if len(self._costs) > self._most:
            self._costs.popitem(last=False)
