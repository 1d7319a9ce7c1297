"""Reference data is asked for once, and later only whether it has changed."""

from __future__ import annotations

import random
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.swift_clock import SwiftClock

Client = Callable[..., Http]
NOON = 1_790_000_000.0


class Standards(HttpPeer):
    """Inspection standards whose ETag is their version; `headers` come with each answer."""

    def __init__(self, **headers: str):
        super().__init__({"/standards": self.standards})
        self.version = 1
        self.headers = headers
        self.full = 0

    def standards(self, asked: Asked, out: Out) -> None:
        etag = f'"v{self.version}"'
        if asked.headers.get("if-none-match") == etag:
            out.answer(304, ETag=etag, **self.headers)
            return
        self.full += 1
        out.json({"version": self.version, "page": asked.query.get("page")}, ETag=etag, **self.headers)


def get(http: Http, peer: HttpPeer, page: int = 1, seconds: float | None = None) -> tuple[bytes, bool]:
    reply = http.send(Call("GET", peer.url + "/standards", [("page", str(page))], keep_seconds=seconds))
    assert reply.status == 200
    return reply.content, reply.cached


def test_a_fresh_answer_saves_the_call_also_in_the_next_run(client: Client, tmp_path: Path) -> None:
    clock = SwiftClock(start=NOON)
    with Standards() as peer:
        kept: dict[str, Any] = {"clock": clock, "folder": tmp_path / "home", "cache": {"seconds": 3600}}
        first = get(client(peer.url, **kept), peer)
        assert first == (b'{"version": 1, "page": "1"}', False)
        assert get(client(peer.url, **kept), peer) == (first[0], True)
        assert len(peer.calls) == 1
        assert get(client(peer.url, **kept), peer, page=2)[1] is False
        clock.advance(3601)
        assert get(client(peer.url, **kept), peer) == (first[0], True)
        assert (len(peer.calls), peer.full) == (3, 2)
        clock.advance(3601)
        peer.version = 2
        assert get(client(peer.url, **kept), peer) == (b'{"version": 2, "page": "1"}', False)
    assert stat.S_IMODE((tmp_path / "home" / "answers.sqlite").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("headers", "calls", "full"),
    [
        ({"Cache_Control": "max-age=600"}, 1, 1),
        ({"Cache_Control": "max-age=600", "Age": "590"}, 3, 1),
        ({"Cache_Control": "no-cache"}, 3, 1),
        ({"Cache_Control": "no-store"}, 3, 3),
        ({"Vary": "*"}, 3, 3),
        ({}, 3, 1),
    ],
)
def test_with_zero_seconds_the_system_decides(client: Client, headers: dict[str, str], calls: int, full: int) -> None:
    clock = SwiftClock(start=NOON)
    with Standards(**headers) as peer:
        http = client(peer.url, clock=clock)
        for _ in range(3):
            assert get(http, peer, seconds=0)[0] == b'{"version": 1, "page": "1"}'
            clock.advance(30)
        assert (len(peer.calls), peer.full) == (calls, full)


def test_nothing_is_kept_unasked(client: Client, tmp_path: Path) -> None:
    with Standards() as peer:
        http = client(peer.url, folder=tmp_path / "home")
        assert [get(http, peer)[1] for _ in range(2)] == [False, False]
    assert not (tmp_path / "home").exists()


def test_a_damaged_file_is_begun_anew(client: Client, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"no database at all" * 100)
    with Standards() as peer:
        http = client(peer.url, folder=tmp_path, cache={"seconds": 60})
        assert [get(http, peer)[1] for _ in range(2)] == [False, True]


def test_other_credentials_see_their_own_answers(client: Client, tmp_path: Path) -> None:
    with Standards() as peer:
        for token in ("a", "b", "a"):
            http = client(peer.url, folder=tmp_path / "home", cache={"seconds": 60}, auth={"bearer": token})
            get(http, peer)
        assert len(peer.calls) == 2


def test_a_write_drops_what_is_kept_of_its_address(client: Client) -> None:
    with Standards() as peer:
        http = client(peer.url, cache={"seconds": 60})
        get(http, peer)
        http.send(Call("PUT", peer.url + "/standards", body=b"{}"))
        assert get(http, peer)[1] is False


def test_a_search_by_post_is_kept_if_its_dataset_says_so(client: Client) -> None:
    with Standards() as peer:
        http = client(peer.url, cache={"seconds": 60})
        for body, seconds in ((b"1", 60.0), (b"1", 60.0), (b"2", 60.0), (b"1", None)):
            search = Call("POST", peer.url + "/standards", body=body, repeat=Repeat.SAFE, keep_seconds=seconds)
            http.send(search)
        assert [asked.body for asked in peer.calls] == [b"1", b"2", b"1"]


def test_what_was_not_used_for_longest_goes_first(client: Client, tmp_path: Path) -> None:
    noise = {n: random.Random(n).randbytes(200_000) for n in range(8)}  # noqa: S311 - any bytes that do not shrink
    clock = SwiftClock(start=NOON)
    with HttpPeer({"/big": lambda asked, out: out.answer(200, noise[int(asked.query["n"])])}) as peer:
        limit = {"seconds": 3600, "bytes": 1 << 20}
        http = client(peer.url, clock=clock, folder=tmp_path / "home", cache=limit)

        def big(number: int) -> bool:
            clock.advance(1)
            return http.send(Call("GET", peer.url + "/big", [("n", str(number))])).cached

        assert [big(n) for n in range(5)] == [False] * 5
        assert big(0)
        assert [big(n) for n in (5, 6, 7)] == [False] * 3
        with sqlite3.connect(tmp_path / "home" / "answers.sqlite") as database:
            (size,) = database.execute("SELECT sum(length(content)) FROM kept").fetchone()
        database.close()
        assert size <= 1 << 20
        assert big(0)
        assert not big(1)


def test_a_replayed_day_needs_less_than_four_tenths_of_the_calls(client: Client, tmp_path: Path) -> None:
    """Every quarter of an hour a sync looks up 5 pages of standards (changed at noon) and asks for new results."""

    def day(**settings: Any) -> tuple[int, list[bytes]]:
        clock = SwiftClock(start=NOON)
        with Standards() as peer:
            peer.routes["/results"] = lambda asked, out: out.json({"since": asked.query["since"]})
            seen = []
            for quarter in range(96):
                peer.version = 1 + (quarter >= 48)
                http = client(peer.url, clock=clock, folder=tmp_path / "home", **settings)
                seen += [get(http, peer, page, settings.get("cache", {}).get("seconds"))[0] for page in range(5)]
                http.send(Call("GET", peer.url + "/results", [("since", str(quarter))], keep_seconds=None))
                http.close()
                clock.advance(900)
            return len(peer.calls), seen

    plain, wanted = day()
    kept, seen = day(cache={"seconds": 7200})
    assert plain == 96 * 6
    assert kept <= 0.4 * plain
    assert (seen[:5], seen[-5:]) == (wanted[:5], wanted[-5:])
