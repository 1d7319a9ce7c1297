"""A FastAPI application answers behind the gateway's stages."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi import Request as Asked
from fastapi.responses import StreamingResponse

from tongqu.gateway.publication import Publication
from tongqu.gateway.serving.asgi import REQUEST, AsgiHandler
from tongqu.gateway.site import Route, Site
from tongqu.testing.running_site import RunningSite

app = FastAPI(openapi_url="/manage/openapi.json")


@app.post("/manage/things/{name}")
async def thing(name: str, asked: Asked) -> dict[str, object]:
    gateway = asked.scope[REQUEST]
    return {"name": name, "body": await asked.json(), "actor": gateway.actor.id, "query": asked.url.query}


@app.get("/manage/long")
async def long() -> StreamingResponse:
    return StreamingResponse((b"x" * 10_000 for _ in range(100)), media_type="text/plain")


@app.get("/manage/broken")
async def broken() -> None:
    raise RuntimeError("hunter2")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSite]:
    def site() -> Site:
        return Site([Route("/manage", AsgiHandler(app, body_bytes=1000), "open")], Publication("1"))

    with RunningSite(site) as found:
        yield found


def asked(running: RunningSite, line: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
    length = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n" if body else ""
    answer = running.raw(f"{line} HTTP/1.1\r\nHost: here:80\r\nConnection: close\r\n{length}\r\n".encode() + body)
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, rest


def test_it_answers_with_what_it_was_asked(running: RunningSite) -> None:
    status, head, body = asked(running, "POST /manage/things/%E6%89%B9?a=1", b'{"b": 2}')
    assert status == 200
    assert json.loads(body) == {"name": "批", "body": {"b": 2}, "actor": "anonymous", "query": "a=1"}
    assert b"tongqu-config: 1" in head
    assert b"application/json" in head


def test_long_answers_come_in_pieces(running: RunningSite) -> None:
    status, head, body = asked(running, "GET /manage/long")
    assert (status, body.count(b"x")) == (200, 1_000_000)
    assert b"transfer-encoding: chunked" in head


def test_its_own_refusals_and_failures(running: RunningSite) -> None:
    assert asked(running, "GET /manage/nothing")[0] == 404
    assert asked(running, "DELETE /manage/long")[0] == 405
    status, _, body = asked(running, "GET /manage/broken")
    assert (status, b"hunter2" in body) == (500, False)
    assert asked(running, "POST /manage/things/a", b'"' + b"x" * 2000 + b'"')[0] == 413
