"""API8, security misconfiguration: it does not start unsafe, speaks one strict HTTP, and tells nothing it need not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.owasp.house import House

from tongqu.gateway.attacks.heads import hostile
from tongqu.testing.command_line import inside

SMUGGLING = [one for one in hostile("127.0.0.1", "/api/v1/items") if one.family == "smuggling"]
BARE = {
    "bare line feeds": b"GET /api/v1/items HTTP/1.1\nHost: x\n\n",
    "a folded line": b"GET /api/v1/items HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a broken chunk": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "HTTP/0.9": b"GET /api/v1/items\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--host", "0.0.0.0"], ""),  # noqa: S104  # refused
        (["--host", "0.0.0.0"], "gateway: {admin: {allow: [0.0.0.0/0]}}"),  # noqa: S104
        ([], "gateway: {admin: {allow: [10.0.0.0/8]}}"),
        ([], "gateway: {cors: {origins: ['*'], credentials: true}}"),
        ([], "gateway: {cors: {origins: ['null']}}"),
        ([], "gateway: {trusted_proxies: [everybody]}"),
        ([], "gateway: {shield: perhaps}"),
        ([], "gateway: {limits: {redis: 'redis://:password@10.0.0.1/0'}}"),
        ([], "gateway: {debug: true}"),
        (["--tls-cert", "missing.pem", "--tls-key", "missing.key"], ""),
    ],
)
def test_it_does_not_start_unsafe(tmp_path: Path, arguments: list[str], more: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(f"project: x\n{more}\n")
    refused = inside(tmp_path, "serve", "--files", "--port", "0", "--json", *arguments)
    assert refused.code == 2, refused.out
    assert "password" not in refused.out


@pytest.mark.parametrize("one", SMUGGLING, ids=lambda one: one.name)
def test_smuggling_is_refused_and_the_line_is_cut(house: House, one: object) -> None:
    request = one.request.replace(b"Connection: close\r\n", b"")  # type: ignore[attr-defined]  # an attack of the corpus
    got = house.raw(request)
    assert got.startswith(b"HTTP/1.1 400")
    assert got.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("name", BARE)
def test_what_is_not_quite_http_is_refused(house: House, name: str) -> None:
    got = house.raw(BARE[name])
    assert got == b"" or got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 505", b"HTTP/1.1 401"))
    assert b"L1" not in got


def test_refusals_do_not_grow(house: House) -> None:
    """What is said of malformed requests is made once; nothing that was put on one answer stays for the next."""
    request = b"GET /api/v1/items HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    sizes = {len(house.raw(request)) for _ in range(6)}
    assert max(sizes) - min(sizes) < 16, sizes


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "A" * 500])
def test_methods_that_are_not_ours(house: House, method: str) -> None:
    assert house.status(method, "/api/v1/items", {"Host": "x"})[0] in (400, 405, 501)


@pytest.mark.parametrize("path", ["/api/v1/open", "/api/v1/items", "/nothing", "/healthz", "/docs", "/oauth/token"])
def test_every_answer_carries_the_headers_of_safety(house: House, path: str) -> None:
    answer = house.ask("", path, origin="https://evil.example")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "referrer-policy" in answer.headers
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers


def test_no_refusal_tells_how_it_is_built(house: House) -> None:
    words = (b"Traceback", b"psycopg", b"asyncpg", b"SELECT", b"postgres", b".py", b"SHOP_URL", b"tongqu.")
    questions = [
        "id=eq.x", "id=eq.99999999999999999999999",
        "weight=eq.1e999", "lot=match.(", "lot=match.*", "select=id::nothing",
        "order=id.sideways", "lot=eq.%00", "id=in.(", "select=line(", "lot=eq.%ff%fe", "select=id->a->>b", "or=(",
    ]  # fmt: skip
    for question in questions:
        answer = house.ask("alpha", f"/api/v1/items?{question}")
        assert answer.status < 500, (question, answer.body)
        if answer.status >= 400:
            assert not [word for word in words if word in answer.body], (question, answer.body)
