"""Answers that stand ready are those of the ordinary way, and only as long as the ordinary way would give them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.ready.twins import OPEN, Twins, twins

from tongqu.store.audit.reading import Wanted, newest

LINES = "lines?select=id,title&order=id"
ITEMS = "items?select=id,lot,inspector&order=id"


def lived(folder: Path, work: Callable[[Twins], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with twins(folder) as both:
            await work(both)

    asyncio.run(whole())


async def hit(both: Twins, target: str = LINES, who: str = "mes", **headers: str) -> None:
    """Ask until the answer stands ready, and is given so."""
    for _ in range(2):
        await both.ask(target, who, **headers)
    before = both.ready.given
    assert b"200 OK" in await both.ask(target, who, **headers)
    assert both.ready.given == before + 1


def test_the_third_of_three_same_questions_takes_no_detour(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        first = await both.ask(LINES, "mes")
        assert b"fwd=miss" in first and both.ready.given == 0
        second = await both.ask(LINES, "mes")
        assert b"tongqu; hit" in second and both.ready.given == 0
        both.pass_(3)
        third = await both.ask(LINES, "mes")
        assert b"\r\nage: 3\r\n" in third and third.endswith(first.partition(b"\r\n\r\n")[2]) and both.ready.given == 1
        assert b'ratelimit: "api";r=997;t=' in third

    lived(tmp_path, work)


@pytest.mark.parametrize("change", ["revoked", "expired", "touched", "begun", "published", "denied", "silent"])
def test_what_ends_an_answer_ends_it_for_the_very_next_call(tmp_path: Path, change: str) -> None:
    async def work(both: Twins) -> None:
        await hit(both)
        given = both.ready.given
        if change == "revoked":
            both.identity.identities.clients.revoke("mes")
        elif change == "expired":
            both.pass_(301)
        elif change == "touched":
            both.touch("c/lines")
        elif change == "begun":
            both.feed.begin("c/lines")
        elif change == "published":
            both.publish("8")
        elif change == "denied":
            both.adopt({**OPEN, "addresses": {"deny": ["127.0.0.1/32"]}})
        else:
            for twin in (both.plain, both.quick):
                twin.audit._failing = "the disk is full"
        answer = await both.ask(LINES, "mes")
        status = {"revoked": b"401", "expired": b"401", "denied": b"403", "silent": b"503"}.get(change, b"200")
        assert answer.split(b" ")[1] == status and b"tongqu; hit" not in answer
        assert both.ready.given == given
        for twin in (both.plain, both.quick):
            twin.audit._failing = ""

    lived(tmp_path, work)


def test_the_last_call_of_a_limit_is_given_and_the_next_refused_and_not_counted(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        left = []
        for _ in range(8):
            answer = await both.ask("defects?order=item_id,no")
            left.append((answer.split(b" ")[1], answer.partition(b'"api";r=')[2][:1]))
        assert left[:6] == [(b"200", b"%d" % n) for n in (5, 4, 3, 2, 1, 0)] and {s for s, _ in left[6:]} == {b"429"}
        both.pass_(864)
        assert b"200 OK" in await both.ask("defects?order=item_id,no")

    lived(tmp_path, work)


def test_a_trace_of_the_caller_goes_on_and_does_not_make_another_question(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        for number in range(1, 5):
            trace = f"{number:032x}"
            answer = await both.ask(LINES, "mes", traceparent=f"00-{trace}-{number:016x}-{number % 2:02d}")
            assert both.quick.trace == trace and answer.count(b"traceparent: 00-*-*-%02d" % (number % 2)) == 1
        assert both.ready.given == 2 and len(both.ready) == 1

    lived(tmp_path, work)


def test_audit_use_and_metrics_tell_the_same_of_both_ways(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        for target in (LINES, ITEMS, "items/1"):
            for who in ("mes", "far"):
                for _ in range(4):
                    await both.ask(target, who, purpose="x")
        await both.ask(LINES, "mes", method="HEAD")
        assert both.ready.given >= 10
        one, other = both.counted()
        assert one == other and one['tongqu_cache_total{result="hit"}'] > 10
        told = []
        for twin in (both.plain, both.quick):
            twin.audit.commit()
            twin.usage.add(twin.audit._due.uses)
            records = newest(twin.trail.place, Wanted(kind="call"), 100)
            for name in ("id", "trace"):
                assert len({record[name] for record in records}) == len(records)
            told.append([{**record, "ms": 0, "id": "", "trace": ""} for record in records])
            assert twin.audit.counts.waiting == 0 and twin.audit.ready
        assert told[0] == told[1] and len(told[0]) == 25
        uses = [twin.usage.usage("lines", "v1") for twin in (both.plain, both.quick)]
        assert uses[0] == uses[1] and uses[0]["client:mes", "title"].count == 5

    lived(tmp_path, work)


def test_bytes_that_are_not_one_whole_question_go_the_ordinary_way(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        await hit(both)
        head = f"GET /api/v1/{LINES} HTTP/1.1\r\nhost: gateway.test\r\nauthorization: Bearer {both.tokens['mes']}"
        ask, given = f"{head}\r\n\r\n".encode(), both.ready.given
        for twin in (both.plain, both.quick):
            connection, end = twin.lines[""]
            for piece in (ask[:40], ask[40:], ask + ask, ask + ask[:9], ask[9:]):
                connection.data_received(piece)
            async with asyncio.timeout(30):
                while end.got.count(b"HTTP/1.1 200 OK") < 5:
                    await asyncio.sleep(0)
        assert both.ready.given == given
        assert both.quick.lines[""][1].got.count(b"HTTP/1.1 200 OK") == 5

    lived(tmp_path, work)


def test_what_stands_ready_is_bounded(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        both.ready._most = 3
        for number in range(1, 6):
            for _ in range(2):
                await both.ask(f"lines?id=gte.{number}&order=id", "mes")
        assert len(both.ready) == 3

    lived(tmp_path, work)


WAYS = st.fixed_dictionaries(
    {},
    optional={
        "accept": st.sampled_from(["text/csv", "application/xml", "application/vnd.pgrst.object+json", "no/such"]),
        "prefer": st.sampled_from(["count=exact", "handling=strict, x", "mock"]),
        "range": st.sampled_from(["0-1", "1-", "9-1"]),
        "accept_language": st.just("zh"),
        "origin": st.just("https://evil.example"),
        "x_forwarded_for": st.sampled_from(["10.1.2.3", "10.9.1.1", "2001:db8::7", "nothing"]),
        "tongqu_purpose": st.just("audit"),
        "x_api_key": st.just("tqk_none"),
        "traceparent": st.sampled_from(["00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "00-zz-1-01"]),
        "if_none_match": st.sampled_from(["*", '"other"']),
    },
)
ASK = st.tuples(
    st.just("ask"),
    st.sampled_from([LINES, ITEMS, "items/1", "items/9", "defects?order=item_id,no", "lines?id=eq.1%20OR%201=1", "no"]),
    st.sampled_from(["mes", "erp", "far", ""]),
    st.sampled_from(["GET", "GET", "GET", "HEAD"]),
    st.one_of(st.just({}), WAYS),
    st.integers(1, 5),
)
EVENT = st.tuples(
    st.sampled_from(["revoke", "token", "later", "touch", "begin", "publish", "deny", "open", "clear"]),
    st.sampled_from([0.1, 1.0, 9.0, 12.0, 70.0, 400.0]),
    st.sampled_from(["mes", "erp"]),
    st.sampled_from(["c/lines", "c/items", "c/other"]),
)


async def happened(both: Twins, event: tuple[Any, ...]) -> None:
    what, seconds, who, place = event
    if what == "revoke":
        both.identity.identities.clients.revoke(who)
    elif what == "token":
        both.add(who)
    elif what == "later":
        both.pass_(seconds)
    elif what == "touch":
        both.touch(place)
    elif what == "begin":
        both.feed.begin(place)
    elif what == "publish":
        both.publish(f"{int(seconds)}")
    elif what == "deny":
        both.adopt({**OPEN, "addresses": {"deny": ["10.1.0.0/16"]}})
    elif what == "open":
        both.adopt(OPEN)
    else:
        for twin in (both.plain, both.quick):
            twin.cache.clear()


def test_whatever_is_asked_and_happens_both_ways_say_the_same(tmp_path: Path) -> None:
    @settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(ASK, ASK, EVENT), min_size=3, max_size=20))
    def always(steps: list[tuple[Any, ...]]) -> None:
        runner.run(lived_through(steps))

    async def lived_through(steps: list[tuple[Any, ...]]) -> None:
        both.pass_(200_000)
        both.adopt(OPEN)
        for who in ("mes", "erp", "far"):
            both.add(who)
        for step in steps:
            if step[0] != "ask":
                await happened(both, step)
                continue
            _, target, who, method, ways, times = step
            for _ in range(times):
                await both.ask(target, who, method=method, **ways)
        one, other = both.counted()
        assert one == other

    with asyncio.Runner() as runner:
        place = twins(tmp_path)
        both = runner.run(place.__aenter__())
        try:
            always()
            assert both.ready.given
        finally:
            runner.run(place.__aexit__(None, None, None))


def test_records_are_json_in_the_same_order(tmp_path: Path) -> None:
    async def work(both: Twins) -> None:
        await hit(both)
        both.quick.audit.commit()
        lines = [path.read_bytes() for path in both.quick.trail.place.folder.glob("*/c-1.log")]
        records = [line.split(b" ", 4)[4] for line in b"".join(lines).splitlines() if b'"kind":"call"' in line]
        assert {tuple(orjson.loads(record)) for record in records} == {tuple(orjson.loads(records[0]))}

    lived(tmp_path, work)
