"""Serves the mock of an API, made of a profile or an OpenAPI document, until it is stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event
from typing import Any

from tongqu.core.errors import InvalidPlanError
from tongqu.kit.profiles.profile import profile
from tongqu.kit.profiles.server import MockServer

Ready = Callable[[Mapping[str, Any]], None]


def chosen(profile: str, openapi: str) -> Callable[[int, Event, Ready], dict[str, Any]]:
    """What serves the mock that is meant: of a profile or of a document. Raises InvalidPlanError unless one of them is
    named."""
    if bool(profile) == bool(openapi):
        raise InvalidPlanError(
            "name a profile or a document", path="--openapi", hint="tongqu mock PROFILE, or --openapi FILE"
        )
    return partial(serve, profile) if profile else partial(serve_document, openapi)


def serve_document(place: str, port: int, stop: Event, ready: Ready) -> dict[str, Any]:
    """As `serve`, for the mock that is made of an OpenAPI document at a file or address; `profile` is a name
    made of its title. Raises NotFoundError and InvalidSettingsError for the document, ConnectError for a taken port."""
    from tongqu.app.services.pretend_server import PretendServer
    from tongqu.catalog.cases.pretend import TOKEN, Pretend
    from tongqu.kit.openapi.document import read_document
    from tongqu.kit.openapi.reading import text_of

    made = read_document(text_of(place), place.partition("?")[0])
    with PretendServer(Pretend(made), port) as server:
        connection = {
            "type": "rest",
            "base_url": server.url,
            "openapi": place,
            "auth": {"bearer": TOKEN},
            "sandbox": True,
        }
        document = {
            "profile": re.sub(r"\W+", "_", made.title.lower()).strip("_") or "api",
            "url": server.url,
            "connection": connection,
        }
        ready(document)
        while not stop.wait(3600.0):
            pass
        return {**document, "calls": server.calls}


def serve(name: str, port: int, stop: Event, ready: Ready) -> dict[str, Any]:
    """Serve the mock of a profile, by its name or file, on a port of this machine (0: a free one) until `stop` is set.
    `ready` is told once it listens: `{profile, url, connection}`, where `connection` are the settings of a connection
    to it; the same is returned with the number of `calls`. Raises InvalidSettingsError for an unknown profile and
    ConnectError for a port that is taken."""
    server = MockServer(profile(name), port)
    try:
        document = {"profile": name, "url": server.url, "connection": {"type": "rest", **server.api.values}}
        ready(document)
        while not stop.wait(3600.0):
            pass
        return {**document, "calls": len(server.api.calls)}
    finally:
        server.close()
