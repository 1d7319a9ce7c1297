"""The command is told to stop, put to sleep, overtaken or starved: it ends in order and the next one goes on."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from threading import Event

import pytest

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.settings import from_url
from tongqu.core.data import Lane
from tongqu.testing.drills import SECONDS, Command, ended
from tongqu.testing.psql import execute, rows
from tongqu.testing.services import FaultProxy

ROWS = 2000
PAUSE = Event()
PARTS = "SELECT k, n, name FROM parts"
BOTH_LANES = pytest.mark.parametrize("lane", [Lane.PASS, Lane.COLUMNAR])


@pytest.fixture
def source_url(pg_url: str) -> str:
    execute(
        pg_url,
        "CREATE TABLE parts (k text, n bigint, name text, PRIMARY KEY (k, n)); "
        f"INSERT INTO parts SELECT 'k'||i%3, i, '件'||i FROM generate_series(1, {ROWS}) i",
    )
    return pg_url


def peak_mb(process: Popen[str]) -> int:
    """The most memory the process had at once; the kernel's count at exec, unlike rusage, which keeps the parent's."""
    peak, pause = 0, Event()
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            break
        peak = max([peak, *[int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]])
        pause.wait(0.02)
    return peak


def first_commit(process: Popen[str]) -> None:
    """Wait until `--progress jsonl` tells of a commit."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if "written" in line:
            return
        said.append(line)
    pytest.fail(f"the command ended without a commit: {''.join(said)}")


def until_asleep(process: Popen[str]) -> None:
    """Wait until it was stopped, by itself."""
    until = time.monotonic() + SECONDS
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        if process.poll() is not None:
            pytest.fail(f"the command ended with {process.returncode} and did not fall asleep")
        assert time.monotonic() < until
        PAUSE.wait(0.02)


def overtaken(folder: Path, sync: list[str], point: str) -> None:
    """A process falls asleep at a point, another one ends its work, and then it wakes up: it must write nothing."""
    with Command(folder / "a", sync).start(TONGQU_SLEEP_AT=point) as first:
        try:
            until_asleep(first)
            second = Command(folder / "b", sync).run(seconds=90)
        finally:
            first.send_signal(signal.SIGCONT)
        slept = ended(first)
    assert second.code == 0, second
    assert second.document["attempts"] == 2
    assert slept.code == 1, slept
    assert slept.document["problems"][0]["code"] == "run.fenced"


@BOTH_LANES
def test_sigterm_stops_after_the_chunk_and_the_command_goes_on(
    lane: Lane, source_url: str, sink_url: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.latency(30)  # slow enough to be met in the middle
    options = ["--table", "parts", "--chunk-rows", "50", "--write", "append", "--lane", lane.value]
    slow = Command(tmp_path, ["sync", source_url, proxy.url(sink_url), *options, "--progress", "jsonl"])
    with slow.start() as process:
        first_commit(process)
        process.send_signal(signal.SIGTERM)
        stopped = ended(process)

    assert stopped.code == 1, stopped
    assert stopped.document["status"] == "stopped"
    partial = rows(sink_url, PARTS)
    assert 0 < len(partial) < ROWS
    assert len(partial) % 50 == 0

    proxy.heal()
    again = slow.run()
    assert (again.code, again.document["attempts"]) == (0, 2), again
    assert again.document["run"] == stopped.document["run"]
    assert again.stream("parts")["read"] == ROWS
    assert rows(sink_url, PARTS) == rows(source_url, PARTS)


@BOTH_LANES
def test_a_source_that_hangs_does_not_keep_us_from_stopping(
    lane: Lane, source_url: str, sink_url: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.latency(30)
    options = ["--table", "parts", "--chunk-rows", "50", "--write", "append", "--lane", lane.value]
    slow = Command(tmp_path, ["sync", proxy.url(source_url), sink_url, *options])
    with Command(tmp_path, [*slow.arguments, "--progress", "jsonl"]).start() as process:
        first_commit(process)
        proxy.half_open()
        process.send_signal(signal.SIGTERM)
        stopped = ended(process, 20)

    assert stopped.code == 1, stopped
    assert stopped.document["status"] == "stopped"
    proxy.heal()
    again = slow.run()
    assert (again.code, again.document["attempts"]) == (0, 2), again
    assert rows(sink_url, PARTS) == rows(source_url, PARTS)


@BOTH_LANES
@pytest.mark.parametrize("write", ["replace", "upsert"])
def test_several_splits_go_on_where_each_of_them_was(
    lane: Lane, write: str, source_url: str, sink_url: str, tmp_path: Path
) -> None:
    execute(source_url, "CREATE TABLE big AS SELECT i * 7 AS n, 'v' || i AS v FROM generate_series(1, 230000) i")
    execute(source_url, "ALTER TABLE big ADD PRIMARY KEY (n); ANALYZE big")
    options = ["--table", "big", "--splits", "3", "--chunk-rows", "20000", "--lane", lane.value, "--write", write]
    command = Command(tmp_path, ["sync", source_url, sink_url, *options])

    assert command.run(crash_at="in_commit:5").killed
    assert command.run(crash_at="after_commit:3").killed
    done = command.run()

    assert (done.code, done.document["attempts"]) == (0, 3), done
    assert (done.stream("big")["read"], done.stream("big")["inserted"]) == (230_000, 230_000)
    query = "SELECT count(*), count(DISTINCT n), md5(string_agg(n || v, ',' ORDER BY n)) FROM big"
    assert rows(sink_url, query) == rows(source_url, query)


@pytest.mark.parametrize("write", ["replace", "append", "upsert", "history"])
def test_a_process_that_slept_is_fenced_off(write: str, source_url: str, sink_url: str, tmp_path: Path) -> None:
    """It falls asleep after a commit, perhaps while it writes the next chunk: then it sleeps on locks, and is evicted
    by the next process when that has waited for them."""
    target = f"{sink_url}{'&' if '?' in sink_url else '?'}lock_seconds=2"
    sync = ["sync", source_url, target, "--table", "parts", "--chunk-rows", "50", "--write", write]
    sync += ["--lane", "columnar"]
    overtaken(tmp_path, sync, "after_commit:2")
    assert rows(sink_url, PARTS) == rows(source_url, PARTS)


@pytest.mark.parametrize(
    ("write", "lane", "point"),
    [
        ("upsert", "columnar", "in_commit:2"),  # between two statements, on rows of the target and of the ledger
        ("append", "pass", "mid_write:2"),  # in LOAD DATA, which waits for more of the file
        ("replace", "columnar", "after_swap"),  # on the ledger, its generation visible
    ],
)
def test_a_process_that_sleeps_in_mariadb_is_fenced_off(
    write: str, lane: str, point: str, *, source_url: str, mysql_url: str, tmp_path: Path
) -> None:
    sync = ["sync", source_url, f"{mysql_url}?lock_seconds=2", "--table", "parts", "--chunk-rows", "50"]
    sync += ["--write", write, "--lane", lane]
    overtaken(tmp_path, sync, point)
    with closing(MysqlDb(from_url(mysql_url))) as db:
        assert sorted(db.rows(PARTS)) == sorted(rows(source_url, PARTS))


@pytest.mark.parametrize("system", ["sqlite", "duckdb"])
def test_a_file_that_a_sleeping_process_writes_is_refused_by_its_number(
    system: str, source_url: str, tmp_path: Path
) -> None:
    sync = ["sync", source_url, f"{system}:{tmp_path / 'lake'}", "--table", "parts", "--chunk-rows", "50"]
    sync += ["--write", "upsert"]
    with Command(tmp_path / "a", sync).start(TONGQU_SLEEP_AT="in_commit:2") as first:
        try:
            until_asleep(first)
            second = Command(tmp_path / "b", sync).run()
        finally:
            first.send_signal(signal.SIGCONT)
        slept = ended(first)

    assert second.code == 1, second
    [problem] = second.document["problems"]
    assert problem["code"] == "connector.busy"
    assert f"process {first.pid}" in problem["message"]
    assert slept.code == 0, slept


def test_memory_stays_bounded_on_a_skewed_table(source_url: str, sink_url: str, tmp_path: Path) -> None:
    execute(
        source_url,
        "CREATE TABLE wide (n bigint PRIMARY KEY, body text); INSERT INTO wide SELECT i, CASE WHEN i % 1000 = 0 THEN "
        "repeat(md5(i::text), 30000) ELSE 'small' END FROM generate_series(1, 200000) i",
    )
    peaks = {}
    for lane in ("pass", "columnar"):
        options = ["--table", "wide", "--lane", lane, "--restart"]
        with Command(tmp_path, ["sync", source_url, sink_url, *options]).start() as process:
            peaks[lane] = peak_mb(process)
            assert ended(process).code == 0
    assert rows(sink_url, "SELECT count(*), sum(length(body))::bigint FROM wide") == rows(
        source_url, "SELECT count(*), sum(length(body))::bigint FROM wide"
    )
    assert 0 < peaks["pass"] < 160, peaks
    assert 0 < peaks["columnar"] < 400, peaks
