"""The management API as a FastAPI application, made from the table of operations; the only user of the framework."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Coroutine
from copy import copy
from typing import Annotated, Any

from fastapi import Body, FastAPI, Path, Query
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request as WebRequest
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import create_model
from starlette.exceptions import HTTPException

from tongqu import __version__
from tongqu.app.http import session
from tongqu.app.http.face import CSRF, Face
from tongqu.app.http.operation import PREFIX, Given, Operation
from tongqu.app.http.refusing import refused
from tongqu.app.http.rights import Right
from tongqu.app.http.table import OPERATIONS
from tongqu.core.errors import TongquError
from tongqu.core.settings import description
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.faults import told
from tongqu.gateway.problems import Problem, refusal
from tongqu.gateway.serving.asgi import REQUEST

DOCUMENT = f"{PREFIX}/openapi.json"
OWN: dict[str, Right | None] = {"openapi": "known", "session.begin": None, "session.show": None, "session.end": "known"}
"""Rights of what is in no table; None: it looks by itself who the caller is."""
_PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {"description": "A problem (RFC 9457)", "content": {"application/problem+json": {}}}
}

logger = logging.getLogger("tongqu.manage")
Endpoint = Callable[[WebRequest], Coroutine[Any, Any, Response]]


def application(face: Face) -> FastAPI:
    """The application of one serving process. Every route is judged before anything of its parameters is read; one
    that no table names is refused."""
    app = FastAPI(
        title="Tongqu management", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        description="The management of a Tongqu gateway: the same documents as the command line's `--json`.",
    )  # fmt: skip
    app.router.route_class = guarded(face)
    _own(app, face)
    for operation in sorted(OPERATIONS.values(), key=lambda one: [part[0] == "{" for part in one.path[1:].split("/")]):
        app.add_api_route(
            PREFIX + operation.path, _endpoint(face, operation), methods=[operation.method],
            operation_id=operation.name, summary=operation.name.replace(".", " "),
            description=inspect.getdoc(operation.do) or "", status_code=operation.status, tags=[operation.right],
            responses=_PROBLEM, response_class=Response, response_model=None,
            openapi_extra={"security": [{"bearer": []}, {"session": []}], "x-right": operation.right},
        )  # fmt: skip

    async def no_route(web: WebRequest, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        problem = Problem("method.refused" if status == 405 else "path.unknown")
        return _web(refusal(problem, web.scope[REQUEST]))

    app.add_exception_handler(HTTPException, no_route)
    return app


def guarded(face: Face) -> type[APIRoute]:
    """The class of the routes: judged first, and whatever goes wrong is a problem document."""

    class Guarded(APIRoute):
        """A route that nobody enters without its right."""

        def get_route_handler(self) -> Endpoint:
            """See APIRoute."""
            inner = super().get_route_handler()
            name = self.operation_id or ""
            right = OPERATIONS[name].right if name in OPERATIONS else OWN[name]

            async def handler(web: WebRequest) -> Response:
                request: Request = web.scope[REQUEST]
                try:
                    if right is not None:
                        face.judge(request, right)
                    return await inner(web)
                except RequestValidationError as error:
                    return _web(refusal(_invalid(error), request))
                except HTTPException:
                    return _web(refusal(Problem("body.malformed"), request))
                except Problem as problem:
                    return _web(refusal(problem, request))
                except TongquError as error:
                    return _web(refused(error, request))
                except Exception as error:
                    logger.exception("%s failed (%s)", name, request.id)
                    return _web(refusal(told(error), request))

            return handler

    return Guarded


def _own(app: FastAPI, face: Face) -> None:
    """Sessions, and the document of the application itself."""

    async def begin(web: WebRequest, given: session.LogIn) -> Response:
        reply, document = await session.log_in(face, web.scope[REQUEST], given)
        return _web(Reply(reply.status, [*reply.headers, *_JSON], json.dumps(document).encode()))

    async def show(web: WebRequest) -> Response:
        return _web(Reply(200, [*_JSON], json.dumps(session.shown(face, web.scope[REQUEST])).encode()))

    async def end(web: WebRequest) -> Response:
        return _web(session.log_out(face, web.scope[REQUEST]))

    async def document(web: WebRequest) -> Response:
        return _web(Reply(200, [*_JSON], json.dumps(described(app), ensure_ascii=False).encode()))

    for method, name, do, status, about in (
        ("POST", "session.begin", begin, 201, "Log in; the session stands in a cookie."),
        ("GET", "session.show", show, 200, "Who the caller is, and the CSRF token of the session."),
        ("DELETE", "session.end", end, 204, "Log out."),
    ):
        app.add_api_route(
            session.PATH, do, methods=[method], operation_id=name, status_code=status, description=about,
            summary=name.replace(".", " "), tags=["session"], responses=_PROBLEM, response_model=None,
            response_class=Response,
        )  # fmt: skip
    app.add_api_route(
        DOCUMENT, document, operation_id="openapi", response_model=None, response_class=Response, tags=["known"],
        include_in_schema=False,
    )  # fmt: skip


_JSON = [("content-type", "application/json"), ("cache-control", "no-store")]


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the application."""
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "session": {
            "type": "apiKey", "in": "cookie", "name": "tongqu_session", "description": f"with the header {CSRF}",
        },
    }  # fmt: skip
    return document


def _endpoint(face: Face, operation: Operation) -> Callable[..., Coroutine[Any, Any, Response]]:
    """The function of a route, with the parameters of its operation as FastAPI reads them from a signature."""

    async def endpoint(web: WebRequest, given: Given | None = None, **places: Any) -> Response:
        request: Request = web.scope[REQUEST]
        values = given.model_dump(exclude_unset=True) if given is not None else {}
        whole = operation.given.model_validate({**values, **places})
        if operation.stream is None:
            return _web(await face.answer(operation, request, whole))
        request.notes.action = operation.name
        asked = face.asked(request)
        if (last := request.headers.get("last-event-id", "")).isdigit():
            whole = whole.model_copy(update={"after": int(last)})
        first = await face.answer(operation, request, whole)
        if first.status >= 400:  # what is not there is told as such
            return _web(first)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(operation.stream(asked, whole), 200, headers, "text/event-stream")

    fields = operation.given.model_fields
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("web", keyword, annotation=WebRequest)]
    for name in operation.places:
        about = Path(description=description(operation.given, name))
        parameters.append(inspect.Parameter(name, keyword, annotation=Annotated[fields[name].annotation, about]))
    rest = _rest(operation)
    if rest is not None:
        how = Query() if operation.method == "GET" else Body()
        needed = operation.method == "GET" or any(field.is_required() for field in rest.model_fields.values())
        default = inspect.Parameter.empty if needed else rest()
        kind = Annotated[rest, how]  # type: ignore[valid-type]  # made at run time
        parameters.append(inspect.Parameter("given", keyword, annotation=kind, default=default))
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # FastAPI reads it
    return endpoint


def _rest(operation: Operation) -> type[Given] | None:
    """The parameters that are not in the path, as a model of their own."""
    fields: dict[str, Any] = {}
    for name, field in operation.given.model_fields.items():
        if name not in operation.places:
            about = copy(field)
            about.description = description(operation.given, name) or None
            fields[name] = (field.rebuild_annotation(), about)
    if not fields:
        return None
    title = "".join(part.capitalize() for part in operation.name.split("."))
    made: type[Given] = create_model(title, __base__=Given, __doc__=operation.given.__doc__, **fields)
    return made


def _invalid(error: RequestValidationError) -> Problem:
    """What does not fit, by pointer or parameter; values stay out."""
    wrong = []
    for one in error.errors():
        kind, *where = one["loc"]
        place = "/".join(str(part) for part in where)
        named = {"parameter": place} if kind in ("query", "path") else {"pointer": f"/{place}"}
        wrong.append({**named, "code": str(one["type"]), "detail": str(one["msg"])})
    if any(one["code"] == "json_invalid" for one in wrong):
        return Problem("body.malformed")
    return Problem("body.invalid", errors=wrong)


def _web(reply: Reply) -> Response:
    made = Response(reply.body if isinstance(reply.body, bytes) else b"", reply.status)
    for name, value in reply.headers:
        made.headers.append(name, value)
    return made
