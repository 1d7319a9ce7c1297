"""The schema of each caller, made once for all callers of equal rights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLSchema

from tongqu.core.policy import Actor
from tongqu.gateway.graphql.exposed import exposed, plan_of
from tongqu.gateway.graphql.schema import schema_for
from tongqu.gateway.publication import Publication

_SCHEMAS = 64
_CALLERS = 2048
FRESH_SECONDS = 1.0
"""How long a caller is taken to see the same fields. Rows and fields are decided anew by each read and write."""


@dataclass(frozen=True)
class _Known:
    until: float
    publication: Publication
    schema: GraphQLSchema | None


class Schemas:
    """Schemas by caller; bounded. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: OrderedDict[Any, tuple[Publication, GraphQLSchema | None]] = OrderedDict()
        self._callers: OrderedDict[Any, _Known] = OrderedDict()

    def of(self, publication: Publication, version: str, actor: Actor) -> GraphQLSchema | None:
        """What the caller may ask of a version; None: nothing."""
        caller = (version, repr(actor))
        known, now = self._callers.get(caller), self._clock()
        if known is not None and known.publication is publication and now < known.until:
            return known.schema
        apis = exposed(publication, version, actor)
        plan = (version, id(publication), plan_of(apis))
        found = self._made.get(plan)
        if found is None:
            found = self._made[plan] = (publication, schema_for(apis))
        self._made.move_to_end(plan)
        self._callers[caller] = _Known(now + FRESH_SECONDS, publication, found[1])
        self._callers.move_to_end(caller)
        _trim(self._made, _SCHEMAS)
        _trim(self._callers, _CALLERS)
        return found[1]


def _trim(kept: OrderedDict[Any, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
