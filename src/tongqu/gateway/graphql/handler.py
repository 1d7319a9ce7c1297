"""`/graphql/{version}`, `/graphql` for the newest, and `/graphql/{version}/schema.graphql`."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from graphql import DocumentNode, GraphQLSchema, OperationDefinitionNode, OperationType, print_schema

from tongqu.gateway.exchange import Headers, Notes, Reply, Request
from tongqu.gateway.faults import expected, told
from tongqu.gateway.graphql.answering import Answered, Answering, introspected
from tongqu.gateway.graphql.bounds import Measured, costly
from tongqu.gateway.graphql.callers import Schemas
from tongqu.gateway.graphql.documents import Documents, Question, operation_of, variables_of
from tongqu.gateway.graphql.exchanges import accepted, refusal, reply, sent
from tongqu.gateway.graphql.keeping import Kept
from tongqu.gateway.graphql.operations import Ready, Step, ready
from tongqu.gateway.graphql.refusals import RequestError, refused
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import DRAFT, Api, Publication
from tongqu.gateway.reading import Reader
from tongqu.gateway.settings import GatewayEntry
from tongqu.gateway.stages import Ticket
from tongqu.gateway.writing import Writer

logger = logging.getLogger("tongqu.gateway")
Share = Callable[[Request, Api, Sequence[tuple[str, str]], int, bool], Awaitable[Ticket]]
"""Lets a request use one more API, with the texts of what it asks of it, by how many questions, and whether it is the
first; raises Problem."""
Tell = Callable[[Request, Reply, float], None]
_SCHEMA = "schema.graphql"
_READY, _LONGEST_READY = 200_000, 8192
_PUBLICATIONS = 3
"""Of which something is kept: what is served, what was before, and what callers of made-up rows see."""


@dataclass(frozen=True)
class _Good:
    """An operation that was found good."""

    ready: Ready
    document: DocumentNode
    operation: OperationDefinitionNode
    question: Question


@dataclass(frozen=True)
class _Kept:
    """What was made of one publication."""

    publication: Publication
    schemas: Schemas
    ready: Kept[tuple[GraphQLSchema, Ready]] = field(default_factory=lambda: Kept(_READY, _LONGEST_READY))


class GraphqlHandler:
    """Published GraphQL. `share` holds the limits of each API that a request uses, `tell` is told of each query of a
    request but the first, which the site tells of; `clock` is monotonic seconds."""

    prefix = "/graphql"
    refusal = staticmethod(refusal)

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        entry: GatewayEntry | None = None,
        *,
        share: Share | None = None,
        tell: Tell = lambda request, reply, seconds: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._entry = entry or GatewayEntry()
        self._share, self._tell, self._clock = share, tell, clock
        self.documents = Documents()
        """What is remembered of documents."""
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def adopt(self, entry: GatewayEntry) -> None:
        """Hold these bounds from the next request on."""
        self._entry = entry

    async def handle(self, request: Request) -> Reply:
        """The answer; raises Problem for what is refused before it is GraphQL: a version or method that is not there, a
        media type, a body, a rate. Whoever may use no API at all finds none here."""
        if request.method == "OPTIONS":
            return Reply(204, [("allow", "GET, POST, OPTIONS")])
        version, rest = _version(request)
        kept = self._of(request.publication)
        schema = kept.schemas.of(request.publication, version, request.actor)
        if schema is None:
            raise Problem("api.unknown" if request.actor.known else "auth.missing")
        request.notes.version = version
        if rest:
            return self._described(request, schema, rest)
        media = accepted(request)
        bounds = self._entry.graphql
        came = await sent(request, self._entry.sizes, bounds, self._largest(request.publication, version))
        measured = Measured(bounds)
        works = [self._prepared(question, (kept, schema), request, measured) for question in came.questions]
        if sum(work.ready.rows for work in works if isinstance(work, _Good)) > bounds.rows:
            problem = costly(f"more than {bounds.rows} rows may have to be read: give `limit`, or ask for less")
            works = [_whole(problem, request) for _ in works]
        steps = [step for work in works if isinstance(work, _Good) for step in work.ready.steps]
        for step in steps:
            if came.size > step.meaning.of.api.entry.limit.body_kb << 10:
                raise Problem("body.too_large")
        with ExitStack() as places:
            headers = await self._admitted(request, steps, places)
            answers = [await self._answered(work, schema, request) for work in works]
        self._note(request, answers)
        made = reply([one.body for one in answers], media, batch=came.batch)
        made.headers += headers
        return made

    def _largest(self, publication: Publication, version: str) -> int:
        """Bytes of a body that some API of the version takes."""
        kilobytes = [api.entry.limit.body_kb for (of, _), api in publication.apis.items() if of == version]
        return min(self._entry.sizes.body_bytes, max(kilobytes, default=0) << 10)

    def _of(self, publication: Publication) -> _Kept:
        """What was made of a publication; that of old ones is let go."""
        found = self._kept.get(id(publication))
        if found is None:
            found = self._kept[id(publication)] = _Kept(publication, Schemas(self._clock))
            if len(self._kept) > _PUBLICATIONS:
                self._kept.popitem(last=False)
                self.documents.forget()
        return found

    def _prepared(
        self, question: Question, of: tuple[_Kept, GraphQLSchema], request: Request, measured: Measured
    ) -> _Good | RequestError:
        """Everything that can be known of an operation before a database is asked, or why it is refused."""
        try:
            return self._good(question, of, request, measured)
        except RequestError as error:
            return error
        except RecursionError:
            return _whole(costly("the values nest too deep"), request)
        except Problem as problem:
            if problem.code == "method.refused":
                raise
            return _whole(problem, request)

    def _good(self, question: Question, of: tuple[_Kept, GraphQLSchema], request: Request, measured: Measured) -> _Good:
        bounds, (kept, schema) = self._entry.graphql, of
        text = self.documents.text(question, bounds)
        document = self.documents.parsed(text, bounds)
        operation = operation_of(document, question.operation)
        measured.add(document, operation)
        self.documents.checked(text, document, schema)
        if operation.operation is OperationType.MUTATION and request.method == "GET":
            raise Problem("method.refused", "a GET changes nothing: POST it", headers=[("allow", "POST")])
        key = (id(schema), text, question.operation, repr(question.variables))
        found = kept.ready.get(key)
        if found is not None and found[0] is schema:
            return _Good(found[1], document, operation, question)
        made = ready(document, operation, schema, variables_of(schema, operation, question.variables))
        if made.introspection and not self._open(request):
            raise Problem("access.denied", "the schema is not told")
        if not made.mutation and not made.introspection:
            kept.ready.put(key, (schema, made), len(text) + len(key[3]))
        return _Good(made, document, operation, question)

    async def _admitted(self, request: Request, steps: Sequence[Step], places: ExitStack) -> Headers:
        """Take a place in the limits of every API that is used; raises Problem."""
        headers: Headers = []
        share = self._share
        if share is None:
            return headers
        for number, step in enumerate(steps):
            request.notes.api = step.meaning.of.api.name
            ticket = await share(request, step.meaning.of.api, step.texts, step.cost, number == 0)
            places.callback(ticket.close, measured=False)
            headers = headers or list(ticket.headers)
        return headers

    async def _answered(self, work: _Good | RequestError, schema: GraphQLSchema, request: Request) -> Answered:
        if isinstance(work, RequestError):
            return Answered({"errors": work.errors}, [Notes(reason=work.code)])
        inner = introspected(work.ready, work.document, schema, work.operation, work.question.variables)

        def failed(error: Exception) -> None:
            level = logging.WARNING if expected(told(error)) else logging.ERROR
            logger.log(level, "%s %s failed (%s)", request.method, request.path, request.id, exc_info=error)

        return await Answering(self._reader, self._writer, request, failed).answer(work.ready, inner)

    def _note(self, request: Request, answers: Sequence[Answered]) -> None:
        """The first query's notes are the request's; each other one is told as a call of its own."""
        notes = [one for answer in answers for one in answer.notes]
        first = notes[0] if notes else Notes(action="describe")
        first.more = {**request.notes.more, **first.more}
        if not first.version:
            first.version = request.notes.version
        request.notes = first
        for other in notes[1:]:
            other.more["part"] = True
            self._tell(replace(request, notes=other), Reply(200), self._clock() - request.began)

    def _described(self, request: Request, schema: GraphQLSchema, rest: str) -> Reply:
        request.notes.action = "describe"
        if rest != _SCHEMA or not self._open(request):
            raise Problem("api.unknown")
        if request.method not in ("GET", "HEAD"):
            raise Problem("method.refused", headers=[("allow", "GET, HEAD, OPTIONS")])
        body = print_schema(schema).encode()
        headers = [("content-type", "application/graphql; charset=utf-8"), ("cache-control", "private, no-cache"),
                   ("vary", "Authorization")]  # fmt: skip
        return Reply(200, headers, b"" if request.method == "HEAD" else body)

    def _open(self, request: Request) -> bool:
        """Whether the caller may read the schema."""
        who = self._entry.graphql.introspection
        return who == "everyone" or (who == "known" and request.actor.known)


def _whole(problem: Problem, request: Request) -> RequestError:
    """A refusal of the whole operation."""
    return RequestError([refused(problem, request)], problem.code)


def _version(request: Request) -> tuple[str, str]:
    """The version that an address names, the newest that is not deprecated without, and what stands behind it."""
    parts = request.path.split("/")[2:]
    publication = request.publication
    if not parts or parts == [""]:
        return _newest(request), ""
    version, rest = parts[0], "/".join(parts[1:])
    if version == _SCHEMA and not rest:
        return _newest(request), _SCHEMA
    if version not in publication.versions:
        sunset = next((sunset for (of, _), sunset in publication.gone.items() if of == version), None)
        raise Problem("version.gone", headers=[("sunset", sunset)]) if sunset else Problem("api.unknown")
    return version, rest


def _newest(request: Request) -> str:
    publication = request.publication
    apis = [(of, api) for (of, _), api in publication.apis.items() if "graphql" in api.entry.protocols]
    stable = {of for of, api in apis if not api.entry.deprecated and not of.endswith(DRAFT)}
    found = next((of for of in reversed(publication.versions) if of in stable), None)
    if found is None and not apis:
        raise Problem("api.unknown" if request.actor.known else "auth.missing")
    return found or publication.versions[-1]
