"""Calls keep to what the settings and the system's answers allow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from threading import Event

import pytest

from tongqu.core.errors import CancelledError, RateLimitedError, RestingError, TongquError
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.pace import Pace
from tongqu.kit.http.settings import Limits
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.swift_clock import SwiftClock

Client = Callable[..., Http]
NOW = 1_700_000_000.0


def taken(pace: Pace, clock: SwiftClock, calls: int, seconds: float = 300) -> list[int]:
    """The waits, in whole seconds, of so many calls one after the other."""
    waits = []
    for _ in range(calls):
        before = sum(clock.waits)
        pace.enter(seconds)
        pace.leave()
        waits.append(round(sum(clock.waits) - before))
    return waits


def test_calls_a_period_and_the_interval_between_them() -> None:
    clock = SwiftClock()
    assert taken(Pace(Limits(calls=3, per_seconds=60), clock), clock, 7) == [0, 0, 0, 60, 0, 0, 60]
    assert taken(Pace(Limits(interval_seconds=2), clock), clock, 3) == [0, 2, 2]


@pytest.mark.parametrize(
    "headers",
    [
        {"ratelimit": '"default";r=2;t=30'},
        {"ratelimit": '"day";r=900;t=40000, "burst";r=2;t=30'},
        {"ratelimit": "limit=100, remaining=2, reset=30"},
        {"ratelimit-remaining": "2", "ratelimit-reset": "30"},
        {"x-ratelimit-remaining": "2", "x-ratelimit-reset": str(int(NOW) + 30)},
        {"x-rate-limit-remaining": "2", "x-rate-limit-reset": str((int(NOW) + 30) * 1000)},
    ],
)
def test_the_rest_of_a_period_is_not_overdrawn(headers: dict[str, str]) -> None:
    clock = SwiftClock(start=NOW)
    pace = Pace(Limits(), clock)
    pace.enter(9)
    pace.learn(200, headers)
    pace.leave()
    assert taken(pace, clock, 4) == [0, 0, 30, 0]


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"retry-after": "7"}, 7),
        (503, {"retry-after": formatdate(NOW + 40, usegmt=True)}, 40),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 12),
        (200, {"retry-after": "7"}, 0),
        (429, {"retry-after": "soon"}, 0),
        (429, {"ratelimit-reset": "12"}, 0),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-11-22T00:00:00Z"}, 0),
    ],
)
def test_retry_after_holds_for_all_threads(status: int, headers: dict[str, str], wait: int) -> None:
    clock = SwiftClock(start=NOW)
    pace = Pace(Limits(), clock)
    pace.enter(9)
    pace.learn(status, headers)
    pace.leave()
    assert taken(pace, clock, 2) == [wait, 0]


def test_a_limit_that_lasts_too_long_fails_at_once() -> None:
    clock = SwiftClock(start=NOW)
    pace = Pace(Limits(patience_seconds=60), clock)
    pace.enter(9)
    pace.learn(429, {"retry-after": "3600"})
    pace.leave()
    with pytest.raises(RateLimitedError, match="in 3600 seconds"):
        pace.enter(9999)
    assert clock.waits == []


def test_no_more_at_a_time_than_allowed(client: Client) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(asked: Asked, out: Out) -> None:
        nonlocal running, most
        del asked
        with lock:
            running += 1
            most = max(most, running)
        out.pause(0.03)
        with lock:
            running -= 1
        out.json({})

    with HttpPeer({"/": slow}) as peer:
        http = client(peer.url, limits={"concurrency": 3})
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: http.send(Call("GET", peer.url + "/")), range(18)))
        assert (most, peer.connections) == (3, 3)


def test_clients_of_one_connection_keep_to_its_limits_together(client: Client) -> None:
    clock = SwiftClock()
    with HttpPeer({"/": lambda asked, out: out.json({})}) as peer:
        limits = {"calls": 2, "per_seconds": 60}
        one, other = (client(peer.url, clock=clock, limits=limits) for _ in range(2))
        for http in (one, other, one):
            http.send(Call("GET", peer.url + "/"))
        assert [round(wait) for wait in clock.waits] == [60]


def test_a_wait_for_a_limit_can_be_stopped() -> None:
    pace, stop = Pace(Limits(), Clock()), Event()
    pace.enter(9)
    pace.learn(429, {"retry-after": "100"})
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        pace.enter(300, stop)
    assert time.monotonic() - begun < 3


def test_too_many_calls_are_made_again_even_if_they_write(client: Client) -> None:
    answers = [429, 429, 201]
    with HttpPeer({"/": lambda asked, out: out.json({}, answers.pop(0), Retry_After="3")}) as peer:
        clock = SwiftClock()
        reply = client(peer.url, clock=clock).send(Call("POST", peer.url + "/", body=b"{}"))
    assert (reply.status, reply.attempts) == (201, 3)
    assert round(sum(clock.waits)) == 6


def test_a_system_that_is_down_is_left_alone(client: Client) -> None:
    up = False
    with HttpPeer({"/": lambda asked, out: out.json({}, 200 if up else 500)}) as peer:
        clock = SwiftClock()
        http = client(peer.url, clock=clock, retry={"rest_failures": 4, "rest_seconds": 30, "attempts": 3})
        for _ in range(2):
            with pytest.raises(TongquError):
                http.send(Call("GET", peer.url + "/"))
        assert len(peer.calls) == 4
        with pytest.raises(RestingError, match="failed 4 times"):
            http.send(Call("GET", peer.url + "/"))
        clock.advance(31)
        with pytest.raises(TongquError):
            http.send(Call("GET", peer.url + "/"))
        assert len(peer.calls) == 5
        up = True
        clock.advance(31)
        assert [http.send(Call("GET", peer.url + "/")).status for _ in range(3)] == [200] * 3


def test_repeats_are_a_share_of_the_calls(client: Client) -> None:
    with HttpPeer({"/": lambda asked, out: out.json({}, 500)}) as peer:
        http = client(peer.url, retry={"attempts": 20, "rest_failures": 0, "share": 0})
        for _ in range(30):
            with pytest.raises(TongquError):
                http.send(Call("GET", peer.url + "/"))
        assert len(peer.calls) == 30 + 10


def test_waits_double_and_differ(client: Client) -> None:
    with HttpPeer({"/": lambda asked, out: out.json({}, 503)}) as peer:
        clock = SwiftClock()
        http = client(peer.url, clock=clock, retry={"attempts": 5, "first_seconds": 1, "longest_seconds": 5})
        with pytest.raises(TongquError):
            http.send(Call("GET", peer.url + "/"))
        for wait, full in zip(clock.waits, [1, 2, 4, 5], strict=True):
            assert full / 2 <= wait <= full
        with pytest.raises(TongquError):
            http.send(Call("GET", peer.url + "/", seconds=2.0))
        assert sum(clock.waits[4:]) <= 2
