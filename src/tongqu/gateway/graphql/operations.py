"""One operation made ready: everything that will be asked and changed, before any of it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType

from tongqu.gateway.asking import Ask
from tongqu.gateway.graphql.changing import edit_of
from tongqu.gateway.graphql.collecting import Chosen, Collecting
from tongqu.gateway.graphql.conditions import texts
from tongqu.gateway.graphql.meanings import Asked, Changed, meaning_of
from tongqu.gateway.graphql.refusals import invalid
from tongqu.gateway.graphql.selecting import Estimate, Selecting, part_of
from tongqu.gateway.graphql.shaping import NOTHING, Shape
from tongqu.gateway.problems import Problem
from tongqu.gateway.writing import Edit


@dataclass(frozen=True)
class Step:
    """A query or mutation of one API. `lists` are the parts of a page that hold rows, `infos`
    those that tell of the page, `edit` what is changed."""

    chosen: Chosen
    meaning: Asked | Changed
    parts: list[Chosen] = field(default_factory=list)
    ask: Ask = field(default_factory=Ask)
    lists: list[tuple[Chosen, Ask, Shape]] = field(default_factory=list)
    infos: dict[str, list[Chosen]] = field(default_factory=dict)
    shape: Shape = NOTHING
    edit: Edit | None = None

    @property
    def cost(self) -> int:
        """How many questions of rows its sources are asked: each list, and each list of related rows. Limits count them
        like calls."""
        asks = [ask for _, ask, _ in self.lists] or [self.ask]
        return sum(_questions(ask) for ask in asks)

    @property
    def texts(self) -> list[tuple[str, str]]:
        """All texts of its arguments, for the shield."""
        return texts(self.chosen.arguments)


@dataclass(frozen=True)
class Ready:
    """An operation. `order` are the names of the answer in order, `said` those that are known already."""

    mutation: bool
    order: tuple[str, ...]
    steps: tuple[Step, ...]
    said: dict[str, Any]
    introspection: tuple[Chosen, ...]
    rows: int
    """Rows that may have to be read."""


def _questions(ask: Ask) -> int:
    return 1 + sum(_questions(one.ask) for one in ask.related)


def ready(document: DocumentNode, operation: OperationDefinitionNode, schema: GraphQLSchema, variables: Any) -> Ready:
    """The operation's steps. Raises Problem for what cannot be asked, RequestError for arguments that do not fit."""
    collecting, estimate = Collecting(document, variables), Estimate()
    selecting = Selecting(collecting, estimate)
    mutation = operation.operation is OperationType.MUTATION
    root = schema.mutation_type if mutation else schema.query_type
    if root is None:
        raise Problem("query.malformed", "nothing can be changed")
    said: dict[str, Any] = {}
    steps: list[Step] = []
    inner: list[Chosen] = []
    try:
        fields = collecting.of(root, [operation.selection_set])
        for chosen in fields:
            if chosen.field is None:
                if chosen.name == "__typename":
                    said[chosen.key] = root.name
                else:
                    inner.append(chosen)
                continue
            meaning = meaning_of(chosen.field)
            if isinstance(meaning, Asked | Changed):
                steps.append(_step(chosen, meaning, selecting))
            else:
                said[chosen.key] = None
    except GraphQLError as error:
        raise invalid([error], "value.invalid") from None
    order = tuple(chosen.key for chosen in fields)
    return Ready(mutation, order, tuple(steps), said, tuple(inner), estimate.rows)


def _step(chosen: Chosen, meaning: Asked | Changed, selecting: Selecting) -> Step:
    parts = selecting.collecting.below(chosen)
    if isinstance(meaning, Changed):
        edit, shape = edit_of(chosen, meaning, parts, selecting)
        return Step(chosen, meaning, parts, shape=shape, edit=edit)
    if meaning.kind == "page":
        ask, lists = selecting.page(chosen, meaning.of)
        infos = {
            part.key: selecting.collecting.below(part)
            for part in parts if part.field is not None and part_of(part) == "pageInfo"
        }  # fmt: skip
        return Step(chosen, meaning, parts, ask, lists, infos)
    ask, shape = (selecting.one if meaning.kind == "one" else selecting.groups)(chosen, meaning.of)
    return Step(chosen, meaning, parts, ask, shape=shape)
