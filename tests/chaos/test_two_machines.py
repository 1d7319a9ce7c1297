"""Two machines run one pipeline at the same time, and the target's server loses what it had not made durable: of all
of them one writes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import Popen
from threading import Event

import pytest

from tongqu.testing.drills import SECONDS, Command, ended
from tongqu.testing.psql import execute, rows
from tongqu.testing.services.postgres import Postgres, start_postgres

PARTS = "SELECT n, name FROM parts"
PAUSE = Event()


@pytest.fixture
def forgetful() -> Iterator[Postgres]:
    """A server that keeps commits which need not wait in its memory, until one that must comes."""
    with start_postgres({"wal_writer_delay": "10s", "bgwriter_delay": "10s", "autovacuum": "off"}) as server:
        yield server


@pytest.fixture
def source_url(pg_url: str) -> str:
    execute(pg_url, "CREATE TABLE parts (n bigint PRIMARY KEY, name text)")
    execute(pg_url, "INSERT INTO parts SELECT i, 'part ' || i FROM generate_series(1, 1000) i")
    return pg_url


def asleep(process: Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def until_asleep(process: Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while not asleep(process):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        PAUSE.wait(0.02)


@pytest.mark.parametrize("write", ["append", "replace"])
def test_a_fence_that_a_server_forgot_lets_nobody_write_beside_another(
    write: str, source_url: str, forgetful: Postgres, tmp_path: Path
) -> None:
    target = forgetful.database()
    sync: Sequence[str] = ["sync", source_url, target, "--table", "parts", "--chunk-rows", "100", "--write", write]
    died, second, third = (Command(tmp_path / name, sync) for name in ("died", "second", "third"))

    assert died.run(crash_at="after_commit:2").killed
    execute(target, "CHECKPOINT")
    with second.start(TONGQU_SLEEP_AT="after_open") as slept:  # it has taken the stream over, and written nothing
        until_asleep(slept)
        forgetful.kill9()
        forgetful.restart()
        with third.start(TONGQU_SLEEP_AT="after_commit:1") as other:
            until_asleep(other)
            slept.send_signal(signal.SIGCONT)
            woken = ended(slept)
            other.send_signal(signal.SIGCONT)
            done = ended(other)

    assert (woken.code, woken.document["problems"][0]["code"]) == (1, "run.fenced"), woken
    assert done.code == 0, done
    assert rows(target, PARTS) == rows(source_url, PARTS)


@pytest.mark.parametrize(
    ("write", "point"), [("append", "in_commit"), ("history", "mid_write"), ("replace", "in_commit")]
)
def test_who_sleeps_on_locks_holds_nobody_up(
    write: str, point: str, source_url: str, sink_url: str, tmp_path: Path
) -> None:
    target = f"{sink_url}{'&' if '?' in sink_url else '?'}lock_seconds=2"
    sync: Sequence[str] = ["sync", source_url, target, "--table", "parts", "--chunk-rows", "100", "--write", write]
    with Command(tmp_path / "first", sync).start(TONGQU_SLEEP_AT=f"{point}:3") as slept:
        try:
            until_asleep(slept)
            second = Command(tmp_path / "second", sync).run()
        finally:
            slept.send_signal(signal.SIGCONT)
        woken = ended(slept)

    assert second.code == 0, second
    assert (woken.code, woken.document["problems"][0]["code"]) == (1, "run.fenced"), woken
    assert rows(sink_url, PARTS) == rows(source_url, PARTS)
