"""Refusals as GraphQL errors: the same codes as everywhere, in `extensions.code`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from tongqu.gateway.exchange import Request
from tongqu.gateway.problems import KINDS, Kind, Problem, declare

declare(
    {
        "query.unknown": Kind(400, "no such query is remembered: send it whole", "没有记住该查询，请发送全文"),
        "query.invalid": Kind(400, "the query does not fit the schema", "查询与模式不符"),
    }
)
_NAMELESS = ("Cannot query field", "not to include unknown field")
_TOO_MUCH = "Parsing aborted."
_LONGEST = 400


class RequestError(Exception):
    """A request that is refused as a whole, with GraphQL's own errors."""

    def __init__(self, errors: Sequence[dict[str, Any]], code: str) -> None:
        super().__init__(code)
        self.errors, self.code = list(errors), code


def refused(problem: Problem, request: Request, path: Sequence[str] = ()) -> dict[str, Any]:
    """A refusal as an error, in the caller's language."""
    kind = problem.kind
    title = kind.zh if request.language == "zh" else kind.en
    more: dict[str, Any] = {"code": problem.code, "status": kind.status, "retryable": kind.retryable, "title": title}
    if problem.errors:
        more["errors"] = problem.errors
    if problem.hint:
        more["hint"] = problem.hint
    made: dict[str, Any] = {"message": problem.detail or title, "extensions": more}
    return {**made, "path": list(path)} if path else made


def invalid(errors: Sequence[GraphQLError], code: str = "query.invalid") -> RequestError:
    """GraphQL's own errors about a document or its variables; a name that is hidden and one that is not there are told
    alike, as `field.unknown`."""
    told: list[dict[str, Any]] = []
    for error in errors:
        text = error.message if len(error.message) <= _LONGEST else error.message[: _LONGEST - 1] + "…"
        own = "field.unknown" if any(words in text for words in _NAMELESS) else code
        own = "query.costly" if text.endswith(_TOO_MUCH) else own
        more = {"code": own, "status": KINDS[own].status, "retryable": False}
        told.append({**error.formatted, "message": text, "extensions": more})
    return RequestError(told, told[0]["extensions"]["code"])
