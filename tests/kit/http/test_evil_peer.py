"""Whatever a peer does wrong ends as a typed error or as a correct result: no hang, no crash, no wrong row."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer

import pytest

from tongqu.core.errors import (
    AnswerError,
    CallRefusedError,
    CancelledError,
    CertificateError,
    ConnectError,
    EgressRefusedError,
    PeerFailedError,
    ReadError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.kit.formats.text_stream import TextStream
from tongqu.kit.formats.xml_records import XmlStream
from tongqu.kit.http.call import Call, Grant, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.http.expect import Kind, expect, expect_stream
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.evil_http import EvilHttp
from tongqu.testing.services.http_peer import HttpPeer

Client = Callable[..., Http]
MIB = 1 << 20
SMALL = {"answer_bytes": MIB, "stream_bytes": 4 * MIB}
SHORT = {"read_seconds": 0.3, "call_seconds": 1.0}


@pytest.fixture(scope="module")
def canary() -> Iterator[HttpPeer]:
    with HttpPeer() as peer:
        yield peer


@pytest.fixture(scope="module")
def evil(canary: HttpPeer) -> Iterator[EvilHttp]:
    with EvilHttp(canary=canary.url + "/inside") as peer:
        yield peer


@pytest.mark.parametrize("path", ["huge", "huge-length", "bomb"])
def test_an_answer_larger_than_the_limit_is_refused_early(evil: EvilHttp, client: Client, path: str) -> None:
    evil.sent = 0
    http = client(evil.url, limits=SMALL)
    with pytest.raises(AnswerError, match="larger than 1,048,576 bytes"):
        http.send(Call("GET", http.url(path)))
    assert evil.sent < 64 * MIB
    with pytest.raises(AnswerError, match="larger than 4,194,304 bytes"), http.stream(Call("GET", http.url(path))) as s:
        assert all(len(chunk) <= MIB for chunk in s.chunks)


@pytest.mark.parametrize(("path", "error"), [("huge-error", PeerFailedError), ("deep", CallRefusedError)])
def test_an_error_page_is_an_error_however_large(
    evil: EvilHttp, client: Client, path: str, error: type[TongquError]
) -> None:
    evil.sent = 0
    with pytest.raises(error):
        client(evil.url, retry={"attempts": 1}).send(Call("GET", f"{evil.url}/{path}"))
    assert evil.sent < 64 * MIB


def test_a_peer_that_accepts_and_speaks_no_tls_is_given_up(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        http = client(url, timeouts={"connect_seconds": 0.2}, retry={"attempts": 2})
        begun = time.monotonic()
        with pytest.raises(ConnectError, match=r"no TLS with 127\.0\.0\.1"):
            http.send(Call("GET", url))
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("slow", "longer than it may"),
        ("slow-head", "longer than it may"),
        ("silent", "nothing arrived for 0.3 seconds"),
        ("short", "closed the connection before the end"),
        ("cut-chunk", "closed the connection before the end"),
    ],
)
def test_a_peer_that_does_not_finish_is_given_up(evil: EvilHttp, client: Client, path: str, message: str) -> None:
    http = client(evil.url, timeouts=SHORT, retry={"attempts": 1})
    begun = time.monotonic()
    with pytest.raises(ConnectError, match=message):
        http.send(Call("GET", http.url(path)))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("path", ["endless-head", "two-lengths", "not-http", "bad-gzip", "cut-gzip"])
def test_what_is_no_proper_answer_is_no_answer(evil: EvilHttp, client: Client, path: str) -> None:
    with pytest.raises(AnswerError):
        client(evil.url).send(Call("GET", f"{evil.url}/{path}"))


def test_bytes_after_an_answer_are_not_the_next_answer(evil: EvilHttp, client: Client) -> None:
    http = client(evil.url)
    assert http.send(Call("GET", http.url("long"))).content == b'{"real": true}'[:13]
    assert b"forged" not in http.send(Call("GET", http.url("good"))).content
    assert b"forged" not in http.send(Call("GET", http.url("good"))).content


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("html", "json", r"HTML page \(Please sign in\) where json"),
        ("html-as-json", "json", "HTML page"),
        ("html", "xml", "HTML page"),
        ("html", "csv", "HTML page"),
        ("image", "json", "image/png where json"),
        ("image", "csv", "image/png where csv"),
    ],
)
def test_an_error_page_with_status_200_is_no_data(
    evil: EvilHttp, client: Client, path: str, kind: Kind, message: str
) -> None:
    http = client(evil.url)
    with pytest.raises(AnswerError, match=message):
        expect(http.send(Call("GET", http.url(path))), kind)
    with pytest.raises(AnswerError, match=message), http.stream(Call("GET", http.url(path))) as stream:
        expect_stream(stream, kind)


def test_json_that_says_it_is_text_is_json(evil: EvilHttp, client: Client) -> None:
    http = client(evil.url)
    assert expect(http.send(Call("GET", http.url("wrong-type"))), "json") == b'{"rows": [1]}'
    with http.stream(Call("GET", http.url("wrong-type"))) as stream:
        assert b"".join(expect_stream(stream, "json")) == b'{"rows": [1]}'


def test_a_redirect_inside_is_refused_and_never_followed(evil: EvilHttp, canary: HttpPeer, client: Client) -> None:
    http = client(evil.url, auth={"bearer": "secret-token"})
    with pytest.raises(EgressRefusedError):
        http.send(Call("GET", http.url("to-loopback")))
    with pytest.raises(AnswerError, match="scheme 'file'"):
        http.send(Call("GET", http.url("to-file")))
    with pytest.raises(AnswerError, match="more than 3 times"):
        http.send(Call("GET", http.url("around")))
    with pytest.raises(EgressRefusedError):
        http.send(Call("GET", canary.url + "/inside", grant=Grant.DATA))
    assert canary.calls == []
    assert http.send(Call("GET", http.url("moved"))).url == evil.url + "/good?moved=1"


def test_a_call_that_did_commit_is_never_made_twice(evil: EvilHttp, client: Client) -> None:
    http = client(evil.url, timeouts=SHORT)
    for path in ("commit", "commit-cut"):
        evil.effects.clear()
        with pytest.raises(UnknownOutcomeError, match=f"POST http://127.0.0.1:[0-9]+/{path} may have had its effect"):
            http.send(Call("POST", http.url(path), body=b"order 1"))
        assert evil.effects == ["order 1"]
    evil.effects.clear()
    reply = http.send(Call("POST", http.url("commit-keyed"), body=b"order 2", key="k2"))
    assert (reply.status, reply.attempts, evil.effects) == (201, 2, ["k2"])


@pytest.mark.parametrize(
    ("call", "error", "attempts"),
    [
        (Call("GET", "/commit"), PeerFailedError, 3),
        (Call("POST", "/commit", body=b"search", repeat=Repeat.SAFE), PeerFailedError, 3),
        (Call("PUT", "/commit", body=b"x"), UnknownOutcomeError, 3),
        (Call("DELETE", "/commit-cut"), UnknownOutcomeError, 3),
        (Call("POST", "/commit", body=b"x", key="k"), UnknownOutcomeError, 3),
        (Call("PATCH", "/commit", body=b"x"), UnknownOutcomeError, 1),
    ],
)
def test_whether_it_may_have_had_its_effect_is_said(
    evil: EvilHttp, client: Client, call: Call, error: type[TongquError], attempts: int
) -> None:
    before = len(evil.calls)
    with pytest.raises(error) as caught:
        client(evil.url, retry={"attempts": 3}).send(replace(call, url=evil.url + call.url))
    assert type(caught.value) is error
    assert len(evil.calls) - before == attempts


def test_nothing_was_sent_so_nothing_can_have_happened(client: Client) -> None:
    with HttpPeer() as peer:
        pass
    with pytest.raises(ConnectError) as caught:
        client(peer.url).send(Call("POST", peer.url + "/", body=b"x"))
    assert type(caught.value) is ConnectError


def test_redirected_writes_are_refused(evil: EvilHttp, client: Client) -> None:
    before = len(evil.calls)
    with pytest.raises(TongquError, match="status 307"):
        client(evil.url).send(Call("POST", evil.url + "/moved", body=b"{}"))
    assert [call.path for call in evil.calls[before:]] == ["/moved"]


def test_an_xml_bomb_is_refused(evil: EvilHttp, client: Client, tmp_path: Path) -> None:
    http = client(evil.url)
    file = tmp_path / "answer.xml"
    file.write_bytes(expect(http.send(Call("GET", http.url("xml-bomb"))), "xml"))
    with pytest.raises(ReadError, match="document type 'l' is refused"):
        list(XmlStream(TextStream(file)).blocks())


def test_stopping_ends_a_call_that_waits(evil: EvilHttp, client: Client) -> None:
    stop = Event()
    http = client(evil.url)
    Timer(0.2, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        http.send(Call("GET", http.url("silent"), stop=stop))
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("kind", ["expired", "other-name", "unknown"])
def test_a_certificate_that_is_not_good_is_refused_at_once(tmp_path: Path, client: Client, kind: str) -> None:
    authority = Authority(tmp_path)
    bad = {
        "expired": authority.issue("expired", days=(-10, -1)),
        "other-name": authority.issue("other", hosts=("example.com",)),
        "unknown": authority.issue("unknown"),
    }
    trusted = {} if kind == "unknown" else {"ca_file": str(authority.ca_file)}
    with EvilHttp(tls=authority.server(bad[kind])) as peer:
        with pytest.raises(CertificateError, match=r"certificate of 127\.0\.0\.1 is not accepted"):
            client(peer.url, tls=trusted).send(Call("GET", peer.url + "/good"))
        assert (peer.calls, peer.connections) == ([], 1)
        assert client(peer.url, tls={"verify": False}).send(Call("GET", peer.url + "/good")).status == 200


def test_a_redirect_away_from_tls_is_refused(tmp_path: Path, canary: HttpPeer, client: Client) -> None:
    authority = Authority(tmp_path)
    with EvilHttp(canary=canary.url + "/inside", tls=authority.server()) as peer:
        http = client(peer.url, tls={"ca_file": str(authority.ca_file)}, allow=["127.0.0.0/8"])
        with pytest.raises(AnswerError, match="redirects to an address without TLS"):
            http.send(Call("GET", http.url("to-loopback")))
    assert canary.calls == []


def test_a_client_certificate_is_shown_where_it_is_asked_for(tmp_path: Path, client: Client) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("client")
    with EvilHttp(tls=authority.server(asks=True)) as peer:
        good = client(peer.url, tls={"ca_file": str(authority.ca_file), "cert_file": str(ours)})
        assert good.send(Call("GET", peer.url + "/good")).status == 200
        assert [one.split(":")[0] for one in good.stages()] == ["dns", "tcp", "tls"]
        with pytest.raises(CertificateError):
            client(peer.url, tls={"ca_file": str(authority.ca_file)}).send(Call("GET", peer.url + "/good"))


@pytest.mark.parametrize(("repeat", "calls"), [(Repeat.SAFE, 2000), (Repeat.KEYED, 2000), (Repeat.NEVER, 400)])
def test_one_call_in_twenty_fails(client: Client, repeat: Repeat, calls: int) -> None:
    failed, done, unknown = 0, [], []
    with EvilHttp(seed=7, share=0.05) as peer:
        http = client(peer.url, limits={"concurrency": 1})
        for number in range(calls):
            method = "GET" if repeat is Repeat.SAFE else "POST"
            key = f"k{number}" if repeat is Repeat.KEYED else ""
            try:
                http.send(Call(method, http.url("flaky"), body=str(number).encode(), repeat=repeat, key=key))
                done.append(key or str(number))
            except UnknownOutcomeError:
                unknown.append(str(number))
            except TongquError:
                failed += 1
    assert failed <= calls * 0.0005
    if repeat is not Repeat.SAFE:
        assert len(set(peer.effects)) == len(peer.effects)
        assert set(done) <= set(peer.effects) <= set(done) | set(unknown)
    if repeat is not Repeat.NEVER:
        assert len(unknown) + failed <= calls * 0.0005


def test_many_threads_share_one_client(client: Client) -> None:
    with EvilHttp(seed=11, share=0.1) as peer:
        http = client(peer.url, limits={"concurrency": 8})

        def order(number: int) -> str:
            http.send(Call("POST", http.url("flaky"), body=b"x", key=f"k{number}"))
            return f"k{number}"

        with ThreadPoolExecutor(8) as threads:
            done = list(threads.map(order, range(800)))
    assert sorted(peer.effects) == sorted(done)
