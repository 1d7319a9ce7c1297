"""Processes of one machine count in one piece of memory: together they let through what one would."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tongqu.gateway.limit.rates import SECOND, Counted, Meter, Rate
from tongqu.gateway.limit.together import CommonMeter, Table, made
from tongqu.testing.services.gateway import Gateway

RATE = Rate("api", 100, 60)
CHILD = """
import sys
from tongqu.gateway.limit.rates import Counted, Rate
from tongqu.gateway.limit.together import CommonMeter, Table
meter, rate = CommonMeter(Table(int(sys.argv[1]))), Rate("api", 100, 60)
print(sum(meter.brief([Counted.of(rate, "mes")], 5) is not None for _ in range(400)))
"""


@pytest.fixture
def counts() -> Iterator[int]:
    number = made()
    yield number
    os.close(number)


def test_processes_that_count_at_once_let_through_exactly_the_limit(counts: int) -> None:
    command = [sys.executable, "-c", CHILD, str(counts)]
    running = [subprocess.Popen(command, pass_fds=(counts,), stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [int(one.communicate(timeout=60)[0]) for one in running]
    assert sum(told) == 100


def test_it_counts_as_the_meter_of_one_process(counts: int) -> None:
    alone, common = Meter(), CommonMeter(Table(counts))
    narrow = Rate("client", 7, 13)
    for step in range(60):
        now = step * SECOND // 3
        assert common.take([(RATE, "mes"), (narrow, "mes")], now) == alone.take([(RATE, "mes"), (narrow, "mes")], now)
        assert common.hit(narrow, "erp", now) == alone.hit(narrow, "erp", now)
        assert common.waits(narrow, "erp", now) == alone.waits(narrow, "erp", now)
    common.give_back(narrow, "erp")
    alone.give_back(narrow, "erp")
    assert common.waits(narrow, "erp", 0) == alone.waits(narrow, "erp", 0)
    assert len(common) == len(alone)


def test_where_too_many_share_a_place_the_one_that_ends_first_makes_room(
    counts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongqu.gateway.limit.together.SLOTS", 8)
    meter = CommonMeter(Table(counts))
    for number in range(8):
        assert meter.brief([Counted.of(Rate("r", 1, 60), f"{number}")], number) is not None
    assert meter.brief([Counted.of(Rate("r", 1, 60), "7")], 9) is None
    assert meter.brief([Counted.of(Rate("r", 1, 60), "new")], 9) is not None
    assert meter.brief([Counted.of(Rate("r", 1, 60), "7")], 9) is None
    assert meter.brief([Counted.of(Rate("r", 1, 60), "0")], 9) is not None
    assert len(meter) == 8


def test_the_workers_of_one_gateway_keep_one_limit(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(
        "project: plant\nconnections: {mes: {type: sqlite, path: mes.db}}\napis:\n"
        "  lines: {source: {connection: mes, dataset: lines}, access: {public: true}, limit: {requests: 7, per: day}}\n"
    )
    with closing(sqlite3.connect(tmp_path / "mes.db")) as mes:
        mes.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY)")
    with Gateway(tmp_path, "--workers", "3") as gateway, ThreadPoolExecutor(8) as many:
        told = list(many.map(lambda _: httpx.get(f"{gateway.url}/api/v1/lines", timeout=60).status_code, range(40)))
    assert (told.count(200), told.count(429)) == (7, 33)
