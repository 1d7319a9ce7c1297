"""The watch over calls: accepted ones one by one, refused ones as counts, never a value, never a wait."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tongqu.core.errors import AuditError
from tongqu.core.policy import Actor
from tongqu.gateway.audit.records import network_of
from tongqu.gateway.audit.watch import AuditWatch, Pace, WhileAudited
from tongqu.gateway.exchange import Notes, Reply, Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Publication
from tongqu.gateway.stages import NoLimits
from tongqu.store.audit.reading import Wanted, newest
from tongqu.store.audit.trail import Trail
from tongqu.store.audit.usage import Usage
from tongqu.store.audit.verify import verify
from tongqu.store.home import Home

MES = Actor("client:mes", purpose="yield")


async def no_body(limit: int) -> bytes:
    del limit
    return b""


def call(path: str = "/api/v1/lots", actor: Actor = MES, method: str = "GET", **notes: Any) -> Request:
    told = {"api": "lots", "version": "v1", "action": "read", "rows": 20, "fields": ("lot_no", "inspector"),
            "masks": ("inspector",), "policy": "p7", **notes}  # fmt: skip
    return Request(method, path, "lot_no=eq.SECRET", {}, "10.1.2.3", "r-1", "0af7651916cd43dd8448eb211c80319c", 0.0,
                   no_body, Publication("v12"), actor=actor, notes=Notes(**told))  # fmt: skip


def refused(code: str, address: str, **more: str) -> Request:
    request = call("/", Actor.nobody(), api="", reason=code, more=more)
    request.address = address
    return request


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def trail(home: Home) -> Iterator[Trail]:
    made = Trail.open(home)
    yield made
    made.close()


def test_an_accepted_call_says_who_what_when_from_where_and_what_was_given(home: Home, trail: Trail) -> None:
    usage = Usage.open(home)
    watch = AuditWatch(trail, "c-1", usage, wall=lambda: 1_772_366_400.25)
    watch.saw(call(), Reply(200), 0.0123)
    watch.close()
    record = newest(trail.place, Wanted(kind="call"), 9)[0]
    assert record == {
        "at": "2026-03-01T12:00:00.250Z", "kind": "call", "who": "client:mes", "what": "read", "api": "lots",
        "version": "v1", "from": "10.1.2.3", "outcome": 200, "fields": ["lot_no", "inspector"],
        "masks": ["inspector"], "policy": "p7", "rows": 20, "bytes": 0, "ms": 12.3,
        "trace": "0af7651916cd43dd8448eb211c80319c", "id": "r-1", "config": "v12", "purpose": "yield",
        "line": ["c-1", 1],
    }  # fmt: skip
    assert "SECRET" not in json.dumps(record)
    assert {key: used.count for key, used in usage.usage("lots", "v1").items()} == {
        ("client:mes", ""): 1, ("client:mes", "inspector"): 1, ("client:mes", "lot_no"): 1
    }  # fmt: skip
    usage.close()
    assert verify(trail.place).ok


def test_refused_calls_are_counted_by_reason_caller_and_second(trail: Trail) -> None:
    now = [1000.0]
    watch = AuditWatch(trail, "c-1", wall=lambda: now[0])
    for second in range(2):
        now[0] = 1000.0 + second
        for n in range(500):
            request = call(f"/api/v1/x{n}", Actor.nobody(), reason="auth.missing", api="", fields=(), masks=())
            watch.saw(request, Reply(401), 0.0001)
            watch.saw(refused("address.refused", f"203.0.113.{n % 256}", rule="deny 203.0.113.0/24"), Reply(403), 0.0)
    watch.saw(call(reason="limit.exceeded"), Reply(429), 0.0)
    watch.close()
    found = newest(trail.place, Wanted(kind="refused"), 99)
    assert sorted((r["code"], r["who"], r["at"][14:19], r["count"]) for r in found) == [
        ("address.refused", "203.0.113.0/24", "16:40", 500), ("address.refused", "203.0.113.0/24", "16:41", 500),
        ("auth.missing", "10.1.2.0/24", "16:40", 500), ("auth.missing", "10.1.2.0/24", "16:41", 500),
        ("limit.exceeded", "client:mes", "16:41", 1),
    ]  # fmt: skip
    sample = next(r["sample"] for r in found if r["code"] == "address.refused")
    assert sample == {
        "method": "GET",
        "path": "/",
        "from": "203.0.113.0",
        "id": "r-1",
        "trace": "0af7651916cd43dd8448eb211c80319c",
        "rule": "deny 203.0.113.0/24",
    }


def test_a_call_that_failed_after_it_was_accepted_stands_there_itself(trail: Trail) -> None:
    watch = AuditWatch(trail, "c-1")
    watch.saw(call(reason="source.slow"), Reply(504), 10.0)
    watch.close()
    record = newest(trail.place, Wanted(kind="call", outcome="5xx"), 9)[0]
    assert (record["outcome"], record["code"]) == (504, "source.slow")


def test_health_and_metrics_are_not_calls(trail: Trail) -> None:
    watch = AuditWatch(trail, "c-1")
    watch.saw(call("/healthz"), Reply(200), 0.0)
    watch.saw(call("/metrics"), Reply(200), 0.0)
    watch.close()
    assert newest(trail.place, Wanted(kind="call"), 9) == []


def test_a_caller_cannot_write_lines_of_his_own(trail: Trail) -> None:
    watch = AuditWatch(trail, "c-1", wall=lambda: 5.0)
    evil = 'x\r\n{"kind":"call","who":"root"}\n\x1b]0;\u202e\u2028\ud800'
    watch.saw(call(f"/{evil}", Actor(f"user:{evil}", purpose=evil), api=evil, fields=(evil,)), Reply(200), 0.0)
    watch.saw(call(f"/{evil}", Actor.nobody(), reason="api.unknown", api=""), Reply(404), 0.0)
    watch.saw(refused("address.refused", evil, rule=evil), Reply(403), 0.0)
    watch.close()
    lines = trail.place.segments("c-1")[0][1].read_bytes().split(b"\n")
    assert len(lines) == 1 + 1 + 2 + 1 + 1
    assert verify(trail.place).ok
    assert newest(trail.place, Wanted(who="root"), 9) == []


def test_calls_wait_while_the_disk_fails_and_new_ones_are_refused(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    watch = AuditWatch(trail, "c-1", pace=Pace(waiting=10), warn=warned.append)
    gatekeeper = WhileAudited(NoLimits(), [watch])
    asyncio.run(gatekeeper.admit(call(), None))
    with monkeypatch.context() as patched:
        patched.setattr(watch._chain, "append", _full)
        for _ in range(3):
            watch.saw(call(), Reply(200), 0.0)
        watch.commit()
        assert (watch.ready, watch.failing, warned) == (False, "no space", ["no space"])
        with pytest.raises(Problem, match="overloaded"):
            asyncio.run(gatekeeper.admit(call(), None))
        for _ in range(15):
            watch.saw(call(), Reply(200), 0.0)
        watch.commit()
    watch.commit()
    assert watch.ready
    watch.close()
    assert len(newest(trail.place, Wanted(kind="call"), 99)) == 3 + 10
    assert [r["count"] for r in newest(trail.place, Wanted(kind="lost"), 9)] == [5]
    assert verify(trail.place).ok


def _full(*args: Any, **more: Any) -> None:
    raise AuditError("no space")


def test_processes_are_anchored_to_each_other_each_minute(trail: Trail) -> None:
    now = [0.0]
    watch = AuditWatch(trail, "c-1", tick=lambda: now[0])
    for minute in range(3):
        now[0] = minute * 60.0
        watch.saw(call(), Reply(200), 0.0)
        watch.commit()
    assert [r["seq"] for r in newest(trail.place, Wanted(kind="anchor"), 9) if "chain" in r] == [4, 2]
    watch.close()
    assert verify(trail.place).ok


def test_what_was_seen_is_on_disk_within_a_fifth_of_a_second(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = AuditWatch(trail, "c-1")
    written, append = Event(), watch._chain.append

    def told(*args: Any, **more: Any) -> Any:
        link = append(*args, **more)
        written.set()
        return link

    monkeypatch.setattr(watch._chain, "append", told)
    watch.start()
    begun = time.monotonic()
    watch.saw(call(), Reply(200), 0.0)
    assert written.wait(10)
    assert time.monotonic() - begun < 10
    watch.close()


def test_networks_of_unknown_callers() -> None:
    assert network_of("10.1.2.3") == "10.1.2.0/24"
    assert network_of("2001:db8:1:2::3") == "2001:db8:1::/48"
    assert network_of("no\naddress") == "no\\u000aaddress"
