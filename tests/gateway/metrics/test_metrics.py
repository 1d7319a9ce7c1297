"""What Prometheus reads: calls, times, refusals; summed over processes; never more series than budgeted."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tongqu.gateway.exchange import Notes, Reply, Request
from tongqu.gateway.metrics import board as boards
from tongqu.gateway.metrics.board import Board
from tongqu.gateway.metrics.measures import Metrics, MetricsHandler, rendered
from tongqu.gateway.publication import Publication


async def no_body(limit: int) -> bytes:
    del limit
    return b""


def call(path: str = "/api/v1/lots", **notes: Any) -> Request:
    told = {"api": "lots", "version": "v1", **notes}
    return Request("GET", path, "", {}, "10.1.2.3", "r-1", "", 0.0, no_body, Publication("1"), notes=Notes(**told))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path / "metrics", "w-1")
    yield made
    made.close()


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """As Prometheus' own parser reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_calls_are_counted_by_api_and_class_with_a_histogram(board: Board) -> None:
    metrics = Metrics(board)
    for seconds, status in ((0.0005, 200), (0.02, 206), (0.02, 422), (99.0, 504)):
        metrics.saw(call(rows=2, bytes=100, reason="" if status < 400 else "source.slow"), Reply(status), seconds)
    found = read(metrics.text())
    of = (("api", "lots"), ("version", "v1"))
    assert found["tongqu_calls_total", (*of[:1], ("status", "2xx"), *of[1:])] == 2
    assert found["tongqu_calls_total", (*of[:1], ("status", "5xx"), *of[1:])] == 1
    counts = [found["tongqu_call_seconds_bucket", (of[0], ("le", le), of[1])] for le in ("0.001", "0.025", "+Inf")]
    assert (counts, found["tongqu_call_seconds_count", of]) == ([1, 3, 4], 4)
    assert found["tongqu_call_seconds_sum", of] == pytest.approx(99.0405)
    assert (found["tongqu_rows_total", of], found["tongqu_answer_bytes_total", of]) == (8, 400)
    assert found["tongqu_errors_total", (("code", "source.slow"),)] == 2


def test_refused_calls_are_counted_by_code_and_not_as_calls(board: Board) -> None:
    metrics = Metrics(board)
    metrics.saw(call(reason="limit.exceeded"), Reply(429), 0.0)
    metrics.saw(call(reason="overloaded"), Reply(503), 0.0)
    metrics.saw(call(api="", reason="address.refused"), Reply(403), 0.0)
    metrics.saw(call(api="", reason="invalid_client"), Reply(401), 0.0)
    found = read(metrics.text())
    assert [found["tongqu_refused_total", (("code", code),)] for code in
            ("limit.exceeded", "overloaded", "address.refused", "other")] == [1, 1, 1, 1]  # fmt: skip
    assert found["tongqu_shed_total", ()] == 1
    assert ("tongqu_calls_total", (("api", "lots"), ("status", "4xx"), ("version", "v1"))) not in found


def test_series_are_budgeted_whatever_is_called(board: Board) -> None:
    metrics = Metrics(board, apis=3)
    for n in range(500):
        metrics.saw(call(api=f"api{n}", reason="" if n % 2 else f"made.up.{n}"), Reply(200), 0.001)
    found = read(metrics.text())
    assert {dict(labels).get("api") for _, labels in found} == {"api0", "api1", "api2", "other", None}
    assert found["tongqu_call_seconds_count", (("api", "other"), ("version", ""))] == 497


def test_a_label_cannot_break_the_text(board: Board) -> None:
    metrics = Metrics(board)
    metrics.saw(call(api='a"},\\\n x 1'), Reply(200), 0.001)
    assert ('a"},\\\n x 1') in {dict(labels).get("api") for _, labels in read(metrics.text())}


def test_health_is_not_counted_and_calls_in_flight_are(board: Board) -> None:
    metrics = Metrics(board)
    metrics.gauge("tongqu_in_flight", "Calls that are being worked on", lambda: 1)
    metrics.gauge("tongqu_pool_in_use", "Connections in use", lambda: 3, connection="lake")
    metrics.counter("tongqu_audit_records_total", "Audit records")(5)
    metrics.saw(call("/healthz"), Reply(200), 0.0)
    found = read(metrics.text())
    assert (found["tongqu_in_flight", ()], found["tongqu_processes", ()]) == (1, 1)
    assert found["tongqu_pool_in_use", (("connection", "lake"),)] == 3
    assert found["tongqu_audit_records_total", ()] == 5


def test_metrics_are_an_answer(board: Board) -> None:
    reply = asyncio.run(MetricsHandler(Metrics(board)).handle(call("/metrics")))
    assert reply.header("content-type").startswith("text/plain; version=0.0.4")
    assert isinstance(reply.body, bytes)
    assert b"# TYPE tongqu_call_seconds histogram" in reply.body


CHILD = """
import os, signal, sys
from pathlib import Path
from tongqu.gateway.metrics.board import Board
board = Board(Path(sys.argv[1]), sys.argv[2])
board.numbers[board.slot("n_total")] += 5
board.numbers[board.slot("=gauge")] = 7
print("ready", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_are_summed_and_counters_outlive_them(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    command = [sys.executable, "-c", CHILD, str(folder)]
    children = [
        subprocess.Popen([*command, f"w-{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    board = Board(folder, "me")
    board.numbers[board.slot("n_total")] += 1
    assert board.sums() == {"n_total": 11, "=gauge": 14}
    for child in children:
        child.communicate("\n")
        assert child.returncode == -signal.SIGKILL
    assert board.sums() == {"n_total": 11}
    assert sorted(path.name for path in folder.glob("*.numbers")) == ["me.numbers", "retired.numbers"]
    board.close()


def test_a_full_board_says_so_and_breaks_nothing(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "SLOTS", 4)
    for n in range(9):
        board.numbers[board.slot(f"n{n}")] += 1
    assert board.full
    assert set(board.sums()) == {"n0", "n1", "n2"}


def test_a_text_of_nothing_is_empty() -> None:
    assert rendered({}) == ""
