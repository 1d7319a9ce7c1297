"""Does what an operation asks for, and puts the answer together; one part that fails leaves the others whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    execute_sync,
)

from tongqu.gateway.asking import Ask
from tongqu.gateway.exchange import Notes, Request
from tongqu.gateway.faults import told
from tongqu.gateway.graphql.changing import once
from tongqu.gateway.graphql.collecting import Chosen
from tongqu.gateway.graphql.meanings import Changed
from tongqu.gateway.graphql.operations import Ready, Step
from tongqu.gateway.graphql.refusals import refused
from tongqu.gateway.graphql.selecting import part_of, said
from tongqu.gateway.graphql.shaping import listed, single
from tongqu.gateway.problems import Problem
from tongqu.gateway.reading import Answer, Reader
from tongqu.gateway.writing import Edit, Writer, Written

Failed = Callable[[Exception], None]


@dataclass(frozen=True)
class Answered:
    """An operation's answer, and what is noted of each step."""

    body: dict[str, Any]
    notes: list[Notes]


@dataclass(frozen=True)
class Answering:
    """Answers one request's operations. `failed` hears of errors that are no refusals."""

    reader: Reader
    writer: Writer
    request: Request
    failed: Failed

    async def answer(self, ready: Ready, introspected: dict[str, Any]) -> Answered:
        """Ask and change. Queries are asked together, mutations one after the other, each whole by itself: one that
        fails leaves those before it done."""
        notes = [Notes() for _ in ready.steps]
        if ready.mutation:
            found = [await self._tried(step, note) for step, note in zip(ready.steps, notes, strict=True)]
        else:
            found = list(await asyncio.gather(*map(self._tried, ready.steps, notes)))
        values: dict[str, Any] = {**ready.said, **introspected}
        errors: list[dict[str, Any]] = []
        for step, (value, error) in zip(ready.steps, found, strict=True):
            values[step.chosen.key] = value
            errors += [error] if error is not None else []
        body: dict[str, Any] = {"data": {key: values[key] for key in ready.order}}
        return Answered({"errors": errors, **body} if errors else body, notes)

    async def _tried(self, step: Step, notes: Notes) -> tuple[Any, dict[str, Any] | None]:
        try:
            return await self._done(step, notes), None
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller hears its kind and the log the rest
            if not isinstance(error, Problem):
                self.failed(error)
            problem = told(error)
            api = step.meaning.of.api
            notes.api, notes.version, notes.reason = api.name, api.version, problem.code
            return None, refused(problem, self.request, [step.chosen.key])

    async def _done(self, step: Step, notes: Notes) -> Any:
        if isinstance(step.meaning, Changed) and step.edit is not None:
            return await self._change(step, step.meaning, step.edit, notes)
        if step.meaning.kind == "page":
            return await self._page(step, notes)
        answer = await self._read(step, step.ask, notes)
        return (single if step.meaning.kind == "one" else listed)(answer.body, step.shape)

    async def _read(self, step: Step, ask: Ask, notes: Notes) -> Answer:
        request = self.request
        return await self.reader.read(
            step.meaning.of.api, request.actor, ask, "json", notes, within=request.publication, again=True
        )

    async def _page(self, step: Step, notes: Notes) -> dict[str, Any]:
        first: Answer | None = None
        lists: dict[str, orjson.Fragment] = {}
        rows = 0
        for part, ask, shape in step.lists:
            answer = await self._read(step, ask, notes)
            lists[part.key] = listed(answer.body, shape)
            first, rows = first or answer, rows + answer.rows
        if first is None:
            first = await self._read(step, step.ask, notes)
        notes.rows = rows
        made: dict[str, Any] = {}
        for part in step.parts:
            if part.field is None:
                made[part.key] = said(part)
            elif part.key in lists:
                made[part.key] = lists[part.key]
            else:
                made[part.key] = first.total if part_of(part) == "totalCount" else _info(step.infos[part.key], first)
        return made

    async def _change(self, step: Step, meaning: Changed, edit: Edit, notes: Notes) -> dict[str, Any]:
        request = self.request
        key = once(step.chosen, meaning, request.actor)
        written = await self.writer.write(meaning.of.api, request.actor, edit, key, notes, within=request.publication)
        return {part.key: said(part) if part.field is None else _told(part, step, written) for part in step.parts}


def _info(parts: list[Chosen], answer: Answer) -> dict[str, Any]:
    """Whether there may be more, and where it begins."""
    told_of: dict[str, Any] = {"hasNextPage": bool(answer.next), "endCursor": answer.next or None}
    return {part.key: said(part) if part.field is None else told_of[part_of(part)] for part in parts}


def _told(part: Chosen, step: Step, written: Written) -> Any:
    word = part_of(part)
    if word == "rows":
        return listed(written.body, step.shape)
    return {"touched": written.touched, "inserted": written.inserted, "replayed": written.replayed}[word]


def introspected(
    ready: Ready, document: DocumentNode, schema: GraphQLSchema, operation: OperationDefinitionNode,
    variables: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What is asked of the schema itself, answered by graphql-core from the caller's own schema."""
    if not ready.introspection:
        return {}
    nodes = tuple(node for chosen in ready.introspection for node in chosen.nodes)
    alone = OperationDefinitionNode(
        operation=operation.operation, name=operation.name, variable_definitions=operation.variable_definitions,
        directives=operation.directives, selection_set=SelectionSetNode(selections=nodes),
    )  # fmt: skip
    fragments = [one for one in document.definitions if isinstance(one, FragmentDefinitionNode)]
    result = execute_sync(
        schema, DocumentNode(definitions=(alone, *fragments)), variable_values=variables, hide_suggestions=True
    )
    return dict(result.data or {})
