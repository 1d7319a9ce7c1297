"""Splits on the workers of a Dask cluster: exact although one is killed, stopped in order, and told no secret."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic

import psycopg
import pytest

from tongqu.testing.command_line import environment, start, tongqu

SECONDS = 120.0
ROWS = 60_000
PROJECT = """
project: plant
connections: {{erp: {{type: postgres, url: "${{env:PLANT_URL}}"}}}}
pipelines:
  orders:
    source: {{connection: erp, dataset: orders}}
    sink: {{connection: erp, dataset: copied, {write}}}
    limit: {{chunk_rows: 4000}}
    {steps}
engine: {{runner: dask, scheduler: "{scheduler}"}}
"""
HOLD = """
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent

def hold(table):
    (HERE / "held").touch()
    while not (HERE / "go").exists() and any(one.name == "tongqu-halt" for one in threading.enumerate()):
        time.sleep(0.02)
    return table
"""


@dataclass
class Cluster:
    """A scheduler and its workers, each a process."""

    folder: Path
    stack: ExitStack
    address: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def begin(self) -> None:
        file = self.folder / "scheduler.json"
        self._process(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file
        )
        self.address = self.told(lambda: file.exists() and file.read_text().partition('"address": "')[2].split('"')[0])

    def worker(self, **environ: str) -> subprocess.Popen[bytes]:
        """One more worker, of one thread; not begun again when it dies."""
        words = (self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        process = self._process("dask_worker", *words, **environ)
        self.workers.append(process)
        self.told(lambda: "Registered to" in (self.folder / f"dask_worker-{len(self.workers) - 1}.log").read_text())
        return process

    def told(self, what: Callable[[], object]) -> str:
        end, pause = monotonic() + SECONDS, Event()
        while not (found := what()):
            assert monotonic() < end
            pause.wait(0.05)
        return str(found)

    def _process(self, module: str, *words: object, **environ: str) -> subprocess.Popen[bytes]:
        log = self.stack.enter_context((self.folder / f"{module}-{len(self.workers)}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *map(str, words)],
            cwd=self.folder, env=environment(self.folder, **environ), stdout=log, stderr=log,
        )  # fmt: skip
        self.stack.callback(_ended, process)
        return process


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(timeout=SECONDS)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        made = Cluster(tmp_path, stack)
        made.begin()
        yield made


def _orders(url: str, folder: Path, cluster: Cluster, write: str, steps: str = "") -> None:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("CREATE TABLE orders (id BIGINT PRIMARY KEY, name TEXT NOT NULL, amount NUMERIC(12,2))")
        database.execute(f"INSERT INTO orders SELECT g, 'order ' || g, g / 7.0 FROM generate_series(1, {ROWS}) AS g")
        database.execute("ANALYZE orders")
    text = PROJECT.format(scheduler=cluster.address, write=write, steps=steps)
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    (folder / "hold.py").write_text(HOLD, encoding="utf-8")


def _same(url: str) -> Sequence[int]:
    """Rows of the target, and how many differ from the source in either direction."""
    with psycopg.connect(url) as database:
        found = database.execute(
            "SELECT (SELECT count(*) FROM copied), (SELECT count(*) FROM (TABLE orders EXCEPT TABLE copied) AS a), "
            "(SELECT count(*) FROM (TABLE copied EXCEPT TABLE orders) AS b)"
        ).fetchone()
    assert found is not None
    return tuple(found)


def test_a_worker_that_is_killed_costs_no_row(cluster: Cluster, tmp_path: Path, pg_url: str) -> None:
    _orders(pg_url, tmp_path, cluster, "write: append")
    doomed = cluster.worker(PLANT_URL=pg_url, TONGQU_CRASH_AT="after_commit:3")
    cluster.worker(PLANT_URL=pg_url)
    done = tongqu(tmp_path, "run", "orders", "--json", PLANT_URL=pg_url)
    assert done.code == 0, done.err
    assert doomed.wait(timeout=SECONDS) == -signal.SIGKILL
    [stream] = done.document["streams"]
    assert stream["runner"] == "dask"
    assert (stream["read"], stream["written"], stream["inserted"]) == (ROWS, ROWS, ROWS)
    assert _same(pg_url) == (ROWS, 0, 0)


def test_a_run_that_is_stopped_commits_and_goes_on(cluster: Cluster, tmp_path: Path, pg_url: str) -> None:
    _orders(pg_url, tmp_path, cluster, "write: replace", "steps: [{python: {file: hold.py, function: hold}}]")
    cluster.worker(PLANT_URL=pg_url)
    with start(tmp_path, "run", "orders", "--json", PLANT_URL=pg_url) as process:
        cluster.told((tmp_path / "held").exists)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert json.loads(out)["status"] == "stopped"
    (tmp_path / "go").touch()
    again = tongqu(tmp_path, "run", "orders", "--json", PLANT_URL=pg_url)
    assert again.code == 0, again.err
    assert again.document["attempts"] == 2
    assert again.document["streams"][0]["read"] == ROWS
    assert _same(pg_url) == (ROWS, 0, 0)


def test_workers_take_secrets_from_their_own_place(cluster: Cluster, tmp_path: Path, pg_url: str) -> None:
    _orders(pg_url, tmp_path, cluster, "write: replace")
    nobody = tongqu(tmp_path, "run", "orders", "--json", PLANT_URL=pg_url)
    assert "has no workers" in nobody.document["problems"][0]["message"]
    cluster.worker()
    done = tongqu(tmp_path, "run", "orders", "--json", PLANT_URL=pg_url)
    assert done.code == 1
    [problem] = done.document["problems"]
    assert problem["code"] == "config.secret"
    assert "PLANT_URL" in problem["message"]
    assert not any(pg_url in path.read_text() for path in tmp_path.glob("*.log"))
