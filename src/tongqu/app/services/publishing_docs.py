"""Documents of published APIs on the command line, as one client would be given them."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.app.project.places import nearest
from tongqu.app.services.explaining import ExplainRequest, actor_of, with_publication
from tongqu.app.services.pretending import mocks_of
from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.gateway.docs.documents import Documents, Wish
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import age
from tongqu.gateway.reading import Reader

if TYPE_CHECKING:
    from tongqu.app.services.publishing import Compiled
    from tongqu.app.wire import Wire
    from tongqu.core.policy import Actor
    from tongqu.gateway.publication import Api

FORMATS = ("openapi", "asyncapi", "postman", "wsdl", "sdl")
ADDRESS = "http://127.0.0.1:8700"
_LANGUAGES = ("zh", "en")


def document(
    wire: Wire, name: str, *, client: str, format: str, language: str, files: bool, address: str = ADDRESS
) -> str:
    """The text of a document as one client would be given it. `name` is an API (then the newest version that has it) or
    a version; `wsdl` is of one API. Needs no running server; asks the sources for their columns, never for rows.
    Raises UnknownNameError, InvalidSettingsError."""
    if format not in FORMATS:
        raise InvalidSettingsError(f"{format!r} is no format", path="--format", hint=f"one of {', '.join(FORMATS)}")
    actor = actor_of(wire, ExplainRequest(name, client))

    async def work(compiled: Compiled) -> dict[str, Any]:
        version, api = _meant(compiled, name)
        if format == "wsdl":
            if api is None:
                raise InvalidSettingsError("a WSDL is of one API", path="NAME", hint="name the API")
            return {"text": _wsdl(api, actor, address)}
        if format == "sdl":
            return {"text": _sdl(compiled, version, actor)}
        wish = Wish(version, format, language if language in _LANGUAGES else "en", address)
        return {"text": await _made(compiled, actor, wish)}

    try:
        found = asyncio.run(with_publication(wire, datetime.now(UTC), files=files, work=work))
    except Problem:
        raise UnknownNameError(
            f"{client} may use nothing of {name!r}", path="--as", hint="tongqu policy explain shows why",
            params={"name": name},
        ) from None  # fmt: skip
    return str(found["text"])


def _meant(compiled: Compiled, name: str) -> tuple[str, Api | None]:
    publication = compiled.publication
    if name in publication.versions:
        return name, None
    found = [api for api in publication.apis.values() if api.name == name]
    if not found:
        known = [*publication.versions, *sorted({api.name for api in publication.apis.values()})]
        raise UnknownNameError(
            f"there is no API or version {name!r}", path="NAME", hint=nearest(name, known), params={"name": name}
        )
    newest = max(found, key=lambda api: age(api.version))
    return newest.version, newest


async def _made(compiled: Compiled, actor: Actor, wish: Wish) -> str:
    mocks = mocks_of()
    try:
        documents = Documents(Reader(b"", time.time), mocks)
        made = await documents.document(compiled.publication, actor, wish)
        return json.dumps(made, ensure_ascii=False, indent=2, default=float)
    finally:
        await mocks.close()


def _wsdl(api: Api, actor: Actor, address: str) -> str:
    from tongqu.gateway.soap.shapes import shape_of
    from tongqu.gateway.soap.wsdl import wsdl

    return wsdl(shape_of(api, actor), f"{address}/soap/{api.version}/{api.name}").decode()


def _sdl(compiled: Compiled, version: str, actor: Actor) -> str:
    from graphql import print_schema

    from tongqu.gateway.graphql.callers import Schemas

    found = Schemas(time.monotonic).of(compiled.publication, version, actor)
    if found is None:
        raise Problem("path.unknown")
    return print_schema(found)
