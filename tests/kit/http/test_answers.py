"""Answers arrive whole, whatever their compression and the way to them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tongqu.core.errors import AnswerError, ConnectError, InvalidSettingsError, NotFoundError, PeerFailedError
from tongqu.kit.http.call import Call, Grant
from tongqu.kit.http.client import Http
from tongqu.kit.http.inflate import inflated
from tongqu.kit.http.settings import Timeouts
from tongqu.kit.http.watch import Watch
from tongqu.testing.services.forward_proxies import ForwardProxy
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

Client = Callable[..., Http]
TEXT = b'{"rows": [1, 2, 3]}' * 200_000


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
    "deflate": zlib.compress(TEXT),
    "Deflate": raw_deflate(TEXT),
    "zstd": pa.compress(TEXT, "zstd", asbytes=True),
    "br": pa.compress(TEXT, "brotli", asbytes=True),
    "deflate, gzip": gzip.compress(zlib.compress(TEXT)),
    "identity": TEXT,
    "": TEXT,
}


@pytest.mark.parametrize("encoding", PACKED)
def test_compression_comes_off_in_small_pieces(encoding: str) -> None:
    data = PACKED[encoding]
    pieces = list(inflated(iter([data[n : n + 7001] for n in range(0, len(data), 7001)]), encoding))
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "deflate"])
def test_damage_is_noticed(encoding: str) -> None:
    with pytest.raises(AnswerError):
        b"".join(inflated(iter([PACKED[encoding][:-9]]), encoding))
    with pytest.raises(AnswerError):
        b"".join(inflated(iter([b"\x00\x01no such thing at all\xff"]), encoding))
    with pytest.raises(AnswerError, match="'lzma', which was not asked for"):
        inflated(iter([b""]), "lzma")


def test_an_error_of_the_connection_stays_what_it_is() -> None:
    def broken() -> object:
        yield PACKED["zstd"][:5]
        raise ConnectError("gone")

    with pytest.raises(ConnectError, match="gone"):
        b"".join(inflated(broken(), "zstd"))  # type: ignore[arg-type]


def test_nothing_is_an_answer_too(client: Client) -> None:
    routes = {
        "/empty": lambda asked, out: out.answer(204),
        "/gzip": lambda asked, out: out.answer(200, b"", Content_Encoding="gzip"),
        "/none": lambda asked, out: out.raw(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    }
    with HttpPeer(routes) as peer:
        http = client(peer.url)
        for path in ("empty", "gzip", "none"):
            assert http.send(Call("GET", http.url(path), accepts=(304,))).content == b""
        assert http.send(Call("DELETE", http.url("empty"))).status == 204
        assert peer.connections == 1


def test_errors_say_what_the_system_says_and_never_the_parameters(client: Client) -> None:
    problem = {"title": "No such lot", "detail": "L1"}
    routes = {
        "/problem": lambda asked, out: out.json(problem, 404, Content_Type="application/problem+json"),
        "/nested": lambda asked, out: out.json({"error": {"message": "boom\n\x07"}}, 500),
        "/page": lambda asked, out: out.answer(500, b"<html>stack trace</html>", Content_Type="text/html"),
    }
    with HttpPeer(routes) as peer:
        http = client(peer.url, retry={"attempts": 1})
        with pytest.raises(NotFoundError) as caught:
            http.send(Call("GET", http.url("problem"), [("token", "s3cr3t")]))
        assert caught.value.problem() == {
            "path": f"GET {peer.url}/problem",
            "code": "connector.not_found",
            "message": f"GET {peer.url}/problem was answered with status 404",
            "hint": "the system says: L1 No such lot",
        }
        assert (caught.value.status, b"No such lot" in caught.value.answer) == (404, True)
        for path, hint in (("nested", "the system says: boom  "), ("page", "")):
            with pytest.raises(PeerFailedError) as failed:
                http.send(Call("GET", http.url(path)))
            assert failed.value.hint == hint


def test_addresses_and_parameters_are_encoded_once(client: Client) -> None:
    with HttpPeer({"/a b/检": lambda asked, out: out.json(asked.query)}) as peer:
        http = client(peer.url + "/a%20b?v=1")
        reply = http.send(Call("GET", http.url("检"), [("q", "x&y=z"), ("p", "50%"), ("e", "")]))
        assert reply.content == b'{"v": "1", "q": "x&y=z", "p": "50%", "e": ""}'
        assert http.url("https://b.example/x") == "https://b.example/x"


def test_a_link_that_repeats_the_connections_parameters_has_them_once(client: Client) -> None:
    with HttpPeer({"/": lambda asked, out: out.json(asked.target)}) as peer:
        key = {"api_key": {"name": "key", "value": "new", "in": "query"}}
        http = client(peer.url, query={"v": "1", "lang": "zh"}, auth=key)
        reply = http.send(Call("GET", peer.url + "/?page=2&v=2&key=old", grant=Grant.DATA))
        assert reply.content == b'"/?page=2&v=2&lang=zh&key=new"'
        assert reply.url == peer.url + "/?page=2&v=2&key=old&lang=zh"


def test_a_call_goes_through_the_hops_of_the_connection(client: Client) -> None:
    with HttpPeer({"/": lambda asked, out: out.json({})}) as peer, ForwardProxy(login="me:pw") as proxy:
        http = client(peer.url, via=[{"proxy": proxy.url}])
        assert http.send(Call("GET", peer.url + "/")).status == 200
        assert proxy.asked == [f"127.0.0.1:{peer.port}"]


def test_an_answer_that_trickles_for_half_a_minute_is_given_up() -> None:
    watch = Watch(Timeouts(bytes_per_second=100), 300, None, lambda: 0.0)
    for _ in range(29):
        watch.waited(1.0, 99)
    with pytest.raises(ConnectError, match="less than 100 bytes a second"):
        watch.waited(1.0, 99)
    quick = Watch(Timeouts(bytes_per_second=100), 300, None, lambda: 0.0)
    for _ in range(100):
        quick.waited(1.0, 101)


def test_a_session_is_kept_by_cookies_for_the_own_host(client: Client) -> None:
    def shop(asked: Asked, out: Out) -> None:
        set_ = {"/in": "sid=1; Path=/; HttpOnly", "/deep": "d=2; Path=/deep", "/out": "sid=; Max-Age=0"}
        cookie = set_.get(asked.path)
        out.json(asked.headers.get("cookie", ""), **({"Set_Cookie": cookie} if cookie else {}))

    with HttpPeer(dict.fromkeys(("/in", "/deep", "/deep/er", "/deeper", "/out"), shop)) as peer:
        http = client(peer.url, auth={"api_key": {"name": "k", "value": "v", "in": "cookie"}})

        def sent(path: str) -> str:
            return http.send(Call("GET", peer.url + path)).content.decode().strip('"')

        paths = ["/in", "/deep", "/deep/er", "/deeper", "/out", "/in"]
        assert [sent(path) for path in paths] == [
            "k=v", "k=v; sid=1", "k=v; sid=1; d=2", "k=v; sid=1", "k=v; sid=1", "k=v",
        ]  # fmt: skip
        quiet = client(peer.url, cookies=False)
        assert [quiet.send(Call("GET", peer.url + path)).content for path in ("/in", "/deeper")] == [b'""', b'""']


def test_a_file_is_sent_piece_by_piece_and_again(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "big.bin"
    content = bytes(range(256)) * 12_000
    file.write_bytes(content)
    answers = [503, 201]
    with HttpPeer({"/up": lambda asked, out: out.json({}, answers.pop(0))}) as peer:
        reply = client(peer.url).send(Call("PUT", peer.url + "/up", file=file))
        assert (reply.status, [asked.body == content for asked in peer.calls]) == (201, [True, True])


def test_a_header_with_a_line_break_is_refused(client: Client) -> None:
    with HttpPeer() as peer, pytest.raises(InvalidSettingsError, match="no HTTP request"):
        client(peer.url).send(Call("GET", peer.url + "/", (), {"X-A": "a\r\nX-B: b"}))
    assert peer.calls == []
