"""What arrives over a socket is one request that can be read in one way, or it is refused and the line is cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.serving.bounds import Bounds
from tongqu.gateway.site import Stages
from tongqu.gateway.stages import Watches
from tongqu.testing.echo_site import echo_site
from tongqu.testing.running_site import RunningSite

HOST = b"Host: x\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSite]:
    with RunningSite(echo_site, Bounds(header_bytes=8192, target_bytes=2048, body_bytes=100_000)) as site:
        yield site


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def ask(running: RunningSite, head: bytes, body: bytes = b"") -> bytes:
    return running.raw(head + b"\r\n" + HOST + b"Connection: close\r\n\r\n" + body)


def test_a_request_is_answered_with_the_headers_of_every_answer(running: RunningSite) -> None:
    answer = ask(running, b"GET /echo/a?b=%20 HTTP/1.1")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"GET /echo/a ?b=%20 "
    for header in (b"tongqu-config: 7.abc", b"tongqu-request-id: ", b"traceparent: 00-", b"cache-control: no-store",
                   b"x-content-type-options: nosniff", b"date: ", b"content-security-policy: "):  # fmt: skip
        assert header in head
    assert b"server:" not in head.lower()


POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = {
    "length and chunks": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGP",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "line feeds alone": b"GET /echo HTTP/1.1\nHost: x\n\n",
    "one line feed alone": b"GET /echo HTTP/1.1\r\nHost: x\nX-B: y\r\n\r\n",
    "a carriage return alone": b"GET /echo HTTP/1.1\r\nHost: x\rX-B: y\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "a space before the name": b"GET /echo HTTP/1.1\r\n Host: x\r\n\r\n",
    "another encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\nabc",
    "encodings after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a tab in an encoding": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"GET /echo HTTP/1.1\r\nHost: x\r\nX-B: y\r\n z\r\n\r\n",
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "another host in the target": b"GET http://evil/echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "a byte zero": b"GET /echo\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes that are no ASCII": b"GET /echo/\xe4\xb8\xad HTTP/1.1\r\nHost: x\r\n\r\n",
    "no method": b"FROBNICATE /echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /echo\r\n\r\n",
    "HTTP/3.7": b"GET /echo HTTP/3.7\r\nHost: x\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32,
}  # fmt: skip


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_two_readers_could_read_in_two_ways_is_refused_and_the_line_is_cut(
    running: RunningSite, name: str
) -> None:
    answer = running.raw(SMUGGLED[name])
    assert status(answer) == 400
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1


CHUNKS = [b"-3\r\nabc\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\nabc\r\n", b"3\nabc\n0\n\n", b"3;\nx\r\nabc\r\n0\r\n\r\n",
          b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n"]  # fmt: skip


@pytest.mark.parametrize("chunks", CHUNKS)
def test_broken_chunks_end_the_request_and_the_line(running: RunningSite, chunks: bytes) -> None:
    answer = running.raw(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert status(answer) in (400, 422)
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"TRACE /echo HTTP/1.1", 405),
        (b"CONNECT evil:80 HTTP/1.1", 400),
        (b"PROPFIND /echo HTTP/1.1", 405),
        (b"GET /echo//a HTTP/1.1", 400),
        (b"GET //echo HTTP/1.1", 400),
        (b"GET /x/../echo HTTP/1.1", 400),
        (b"GET /x/%2e%2e/echo HTTP/1.1", 400),
        (b"GET /x/.%2E/echo HTTP/1.1", 400),
        (b"GET /echo/%2fa HTTP/1.1", 400),
        (b"GET /echo/a%5c HTTP/1.1", 400),
        (b"GET /echo/%zz HTTP/1.1", 400),
        (b"GET /echo/%c0%ae HTTP/1.1", 400),
        (b"GET /echo/%00 HTTP/1.1", 400),
        (b"GET /echo/%0d%0aX HTTP/1.1", 400),
        (b"GET /ECHO HTTP/1.1", 404),
        (b"GET /echoes HTTP/1.1", 404),
        (b"GET /%252e%252e/echo HTTP/1.1", 404),
        (b"GET /%65cho HTTP/1.1", 200),
        (b"GET /echo/%E6%89%B9 HTTP/1.1", 200),
    ],
)
def test_a_path_is_read_in_one_way_or_refused(running: RunningSite, request_line: bytes, expected: int) -> None:
    assert status(ask(running, request_line)) == expected


@pytest.mark.parametrize("header", [b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /other"])
def test_another_method_or_path_in_a_header_counts_for_nothing(running: RunningSite, header: bytes) -> None:
    answer = running.raw(b"GET /echo/a HTTP/1.1\r\n" + HOST + header + b"\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"GET /echo/a ? ")


def test_what_is_too_large_is_refused_before_it_is_read(running: RunningSite) -> None:
    assert status(ask(running, b"GET /echo/" + b"a" * 3000 + b" HTTP/1.1")) == 414
    assert status(ask(running, b"GET /echo HTTP/1.1\r\nX-Long: " + b"a" * 20_000)) == 431
    assert status(ask(running, b"GET /echo HTTP/1.1" + b"".join(b"\r\nX-%d: a" % at for at in range(120)))) == 431
    assert status(ask(running, b"POST /echo HTTP/1.1\r\nContent-Length: 5000")) == 413
    assert status(ask(running, b"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999")) == 400
    chunked = b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(50)) + b"0\r\n\r\n"
    assert status(ask(running, b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked", chunked)) == 413


def test_requests_on_one_line_are_answered_in_their_order(running: RunningSite) -> None:
    bodies = b"POST /echo/1 HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
    chunked = (
        b"POST /echo/2 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    unread = b"POST /echo/unread HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
    last = b"GET /echo/9 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = running.raw(bodies + chunked + (b"GET /echo/3 HTTP/1.1\r\n" + HOST + b"\r\n") * 20 + unread + last)
    found = [part.split(b"\r\n\r\n", 1)[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert found == [
        b"POST /echo/1 ? abc", b"POST /echo/2 ? abcde", *[b"GET /echo/3 ? "] * 20, b"unread", b"GET /echo/9 ? ",
    ]  # fmt: skip


def test_pieces_are_chunks_and_for_http_1_0_the_end_of_the_line(running: RunningSite) -> None:
    assert ask(running, b"GET /echo/pieces?2 HTTP/1.1").endswith(
        b"\r\n\r\n8\r\npiece 0\n\r\n8\r\npiece 1\n\r\n0\r\n\r\n"
    )
    old = running.raw(b"GET /echo/pieces?2 HTTP/1.0\r\n\r\n")
    assert old.endswith(b"\r\n\r\npiece 0\npiece 1\n")
    assert b"chunked" not in old


def test_head_has_the_length_and_no_body(running: RunningSite) -> None:
    answer = ask(running, b"HEAD /echo/a HTTP/1.1")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 15" in answer
    assert ask(running, b"HEAD /echo/pieces HTTP/1.1").endswith(b"\r\n\r\n")


def test_a_caller_that_asks_first_is_told_to_go_on(running: RunningSite) -> None:
    with running.connect() as line:
        line.sendall(b"POST /echo HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert line.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(b"ok")
        assert line.recv(4000).endswith(b"POST /echo ? ok")


def test_java_clients_that_offer_http_2_are_served_with_http_1(running: RunningSite) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    with running.connect() as line:
        line.sendall(b"POST /echo/1 HTTP/1.1\r\n" + HOST + upgrade + b"Content-Length: 2\r\n\r\nok")
        assert line.recv(4000).endswith(b"POST /echo/1 ? ok")
        line.sendall(b"GET /echo/2 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert line.recv(4000).endswith(b"GET /echo/2 ? ")


def test_what_goes_wrong_inside_is_told_to_nobody_outside(running: RunningSite) -> None:
    answer = ask(running, b"GET /echo/broken HTTP/1.1")
    assert status(answer) == 500
    assert b'"code":"internal"' in answer
    assert b"hunter2" not in answer
    assert status(ask(running, b"GET /echo/header HTTP/1.1")) == 500


def test_slow_callers_are_cut_off() -> None:
    bounds = Bounds(header_seconds=0.2, body_seconds=0.2, idle_seconds=0.2, sweep_seconds=0.1)
    with RunningSite(echo_site, bounds) as running:
        began = time.monotonic()
        assert running.raw(b"GET /echo HTTP/1.1\r\nHo") == b""
        assert running.raw(b"") == b""
        late = running.raw(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nabc")
        assert status(late) == 408
        assert running.raw(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n").endswith(b"GET /echo ? ")
        assert time.monotonic() - began < 20


def test_too_many_lines_are_cut_at_once() -> None:
    with RunningSite(echo_site, Bounds(connections=2)) as running:
        lines = [running.connect() for _ in range(2)]
        for line in lines:
            line.sendall(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
            assert line.recv(4000).endswith(b"GET /echo ? ")
        with running.connect() as third, pytest.raises(ConnectionError):
            third.sendall(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
            if third.recv(100) == b"":
                raise ConnectionResetError
        for line in lines:
            line.close()


def test_leaving_finishes_what_runs_and_takes_nothing_new() -> None:
    with RunningSite(echo_site) as running:
        idle = running.connect()
        idle.sendall(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
        idle.recv(4000)
        line = running.connect()
        line.sendall(b"GET /echo/wait HTTP/1.1\r\n" + HOST + b"\r\n")
        echo = running.site.routes[0].handler
        while "/echo/wait" not in echo.asked:  # type: ignore[attr-defined]  # an Echo
            line.settimeout(0.01)
            with pytest.raises(TimeoutError):
                line.recv(1)
        line.settimeout(10)
        running._loop.call_soon_threadsafe(running._stop.set)  # as `stop`, without waiting
        assert idle.recv(10) == b""
        with pytest.raises(OSError):  # refused or reset
            late = socket.create_connection(("127.0.0.1", running.port), 1)
            late.sendall(b"GET /echo HTTP/1.1\r\n\r\n")
            if late.recv(10) == b"":
                raise ConnectionResetError
        running._loop.call_soon_threadsafe(echo.go.set)  # type: ignore[attr-defined]
        assert running.rest(line).endswith(b"GET /echo/wait ? ")
        running.stop()
        assert running.whole
        for one in (idle, line):
            one.close()


def test_what_does_not_finish_in_time_is_cut() -> None:
    with RunningSite(echo_site, Bounds(drain_seconds=0.2)) as running, running.connect() as line:
        line.sendall(b"GET /echo/wait HTTP/1.1\r\n" + HOST + b"\r\n")
        while not running.server._tasks:
            line.settimeout(0.01)
            with pytest.raises(TimeoutError):
                line.recv(1)
        running.stop()
        assert not running.whole


def until_closed(running: RunningSite) -> None:
    """Wait until the server has nobody any more."""
    deadline, pause = time.monotonic() + 10, threading.Event()
    while running.server.open:
        assert time.monotonic() < deadline, "the connection is still there"
        pause.wait(0.02)


@pytest.mark.parametrize("path", ["/echo/large?1000000", "/echo/" + "a" * 300, "/echo//"])
def test_who_asks_on_and_on_and_reads_nothing_is_not_worked_for(path: str) -> None:
    answered: list[str] = []

    class Counting(Watches):
        def saw(self, request: Request, reply: Reply, seconds: float) -> None:
            answered.append(request.path)

    with (
        RunningSite(
            lambda: echo_site(Stages(watch=Counting())), Bounds(write_seconds=0.5, sweep_seconds=0.1)
        ) as running,
        running.connect() as line,
    ):
        line.settimeout(0.2)
        asked = b"".join([b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"] * 1000)
        with pytest.raises(OSError):  # the server takes no more, or has cut the line
            for _ in range(1000):
                line.sendall(asked)
        until_closed(running)
        assert len(answered) < 30_000  # what fits into the buffers of two sockets


def test_who_does_not_read_the_last_answer_is_cut() -> None:
    with RunningSite(echo_site, Bounds(write_seconds=0.3, sweep_seconds=0.1)) as running, running.connect() as line:
        line.sendall(b"GET /echo/large?50000000 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert line.recv(10)
        until_closed(running)


def test_leaving_lets_what_is_written_be_read() -> None:
    with RunningSite(echo_site) as running, running.connect() as line:
        line.sendall(b"GET /echo/large?20000000 HTTP/1.1\r\n" + HOST + b"\r\n")
        got = line.recv(1000)
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        got += running.rest(line)
        stopping.join()
        assert len(got.partition(b"\r\n\r\n")[2]) == 20_000_000
