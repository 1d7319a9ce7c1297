"""GraphQL over HTTP: what a request holds, and how its answer is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.graphql.bounds import costly
from tongqu.gateway.graphql.documents import Question
from tongqu.gateway.graphql.refusals import refused
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import GraphqlEntry, SizesEntry
from tongqu.gateway.shield.bodies import json_body, unpacked

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
_PARTS = frozenset(("query", "variables", "operationName", "extensions"))


@dataclass(frozen=True)
class Sent:
    """What came: questions, whether as a list, and the bytes of the body."""

    questions: list[Question]
    batch: bool
    size: int


async def sent(request: Request, sizes: SizesEntry, bounds: GraphqlEntry, most: int) -> Sent:
    """The questions of a request. A POST has a JSON body and nothing that a web page's form could send; a GET has them
    in its query. A body has at most `most` bytes. Raises Problem."""
    if request.method == "GET":
        return Sent([_of_query(request)], batch=False, size=0)
    if request.method != "POST":
        raise Problem("method.refused", headers=[("allow", "GET, POST, OPTIONS")])
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != JSON:
        raise Problem("media.unknown", "the body of a GraphQL request is application/json")
    body = await request.body(most)
    body = unpacked(body, request.headers.get("content-encoding", ""), most, sizes)
    found = json_body(body, sizes, _loads)
    if not isinstance(found, list):
        return Sent([_question(found)], batch=False, size=len(body))
    if not found:
        raise Problem("body.malformed", "a batch holds at least one operation")
    if len(found) > bounds.batch:
        raise costly(f"a batch holds at most {bounds.batch} operations")
    return Sent([_question(one) for one in found], batch=True, size=len(body))


def accepted(request: Request) -> str:
    """The media type of the answer; raises Problem `accept.unknown`."""
    asked = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    if asked == [""]:
        return GRAPHQL
    for part in asked:
        if part in (GRAPHQL, JSON):
            return part
        if part in ("*/*", "application/*"):
            return GRAPHQL
    raise Problem("accept.unknown", f"what can be given: {GRAPHQL}, {JSON}")


def reply(bodies: list[dict[str, Any]], media: str, *, batch: bool) -> Reply:
    """The answer. A request that came to nothing is 200 in `application/json`, as old clients want it, and the
    refusal's status in the newer type."""
    status = 200
    if media == GRAPHQL and not batch and "data" not in bodies[0]:
        status = bodies[0]["errors"][0].get("extensions", {}).get("status", 400)
    return Reply(
        status,
        [("content-type", f"{media}; charset=utf-8"), ("vary", "Accept, Authorization")],
        orjson.dumps(bodies if batch else bodies[0]),
    )


def refusal(problem: Problem, request: Request) -> Reply:
    """A refusal before it came to GraphQL, in GraphQL's form, with its own status."""
    request.notes.reason = problem.code
    media = JSON if JSON in request.headers.get("accept", "") else GRAPHQL
    body = b"" if request.method == "HEAD" else orjson.dumps({"errors": [refused(problem, request)]})
    return Reply(problem.kind.status, [("content-type", f"{media}; charset=utf-8"), *problem.headers], body)


def _of_query(request: Request) -> Question:
    given = dict(request.pairs())
    parts: dict[str, Any] = {name: value for name, value in given.items() if name in _PARTS}
    for name in ("variables", "extensions"):
        if parts.get(name):
            try:
                parts[name] = _loads(parts[name].encode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError):
                raise Problem("query.malformed", f"`{name}` is no JSON") from None
        else:
            parts.pop(name, None)
    return _question(parts)


def _question(found: Any) -> Question:
    if not isinstance(found, dict):
        raise Problem("body.malformed", "an object with `query` is expected")
    query, variables, operation, extensions = (
        other if found.get(name) is None else found[name]
        for name, other in (("query", ""), ("variables", {}), ("operationName", ""), ("extensions", {}))
    )
    fits = isinstance(query, str) and isinstance(variables, dict) and isinstance(operation, str)
    if not fits or not isinstance(extensions, dict):
        raise Problem("body.malformed", "`query` and `operationName` are texts, `variables` and `extensions` objects")
    persisted = extensions.get("persistedQuery")
    digest = persisted.get("sha256Hash", "") if isinstance(persisted, dict) else ""
    if not isinstance(digest, str) or len(digest) > len("0" * 64):
        raise Problem("body.malformed", "`sha256Hash` is the SHA-256 of the query, in hex")
    return Question(query, variables, operation, digest.lower())


def _loads(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig"), parse_float=_number, parse_constant=_no_constant)


def _number(text: str) -> Decimal:
    if len(text) > 100:
        raise ValueError
    return Decimal(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)
