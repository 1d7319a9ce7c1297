"""What those who use a source notice of a full load of it and of its log being followed: pgbench's p99, with a governor
and without."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.testing import psql
from tongqu.testing.services.postgres import start_postgres

_SECONDS = int(os.environ.get("BENCH_GOVERNED_SECONDS", "20"))
"""Of one phase."""
_RATE, _CLIENTS, _SCALE = 200, 4, 5
_WARM = 10.0
_PROJECT = """
project: bench
connections:
  erp: {{type: postgres, url: "{source}"{adapt}}}
  users: {{type: postgres, url: "{users}"{adapt}}}
  lake: {{type: postgres, url: "{sink}"}}
pipelines:
  log:
    source: {{connection: users, datasets: [pgbench_branches, pgbench_tellers], mode: cdc}}
    sink: {{connection: lake, write: upsert}}
  orders:
    source: {{connection: erp, dataset: orders}}
    sink: {{connection: lake, dataset: governed}}
    limit: {{splits: 2, chunk_rows: 5000}}
"""


def _p99(world: World, number: int) -> float:
    """The milliseconds within which 99 of 100 transactions of the source's users end."""
    log = world.folder / f"pgbench-{number}"
    subprocess.run(
        [str(world.postgres.binaries / "pgbench"), "-n", "-M", "prepared", "-c", str(_CLIENTS), "-R", str(_RATE), "-T",
         str(_SECONDS), "-l", f"--log-prefix={log}", "users"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **world.environment},
    )  # fmt: skip
    took = [int(line.split()[2]) for path in world.folder.glob(f"{log.name}.*") for line in path.open()]
    return float(np.percentile(np.array(took), 99)) / 1e3


@contextmanager
def _loading(world: World, lake: str, adapt: str) -> Iterator[list[int]]:
    """A full load of the orders, begun anew whenever it has ended, and the users' changes followed; gives the rows that
    came."""
    folder = world.folder / ("governed" if adapt else "free")
    folder.mkdir(exist_ok=True)
    text = _PROJECT.format(source=world.url("src"), users=world.url("users"), sink=lake, adapt=adapt)
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    moved: list[int] = []
    command = f"cd {folder}; {world.tongqu} run log --watch --json & "
    command += f"while :; do {world.tongqu} run orders --json --restart || exit 1; done"
    with (world.folder / "commands.log").open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            ["bash", "-c", command], stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **world.environment, "TONGQU_HOME": str(folder / "home")},
        )  # fmt: skip
        before = _inserted(lake)
        time.sleep(_WARM)
        try:
            yield moved
            if process.poll() is not None:
                raise RuntimeError(f"the load ended with {process.returncode}; see {log.name}")
            moved.append(round((_inserted(lake) - before) / (time.monotonic() - began)))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _inserted(lake: str) -> int:
    [(rows,)] = psql.rows(lake, "SELECT tup_inserted FROM pg_stat_database WHERE datname = current_database()")
    return int(rows)


@cache
def _measured(world: World) -> dict[str, tuple[list[float], list[int]]]:
    world.postgres.database("users")
    world.shell(f"{world.postgres.binaries / 'pgbench'} -i -q -s {_SCALE} users")
    found: dict[str, tuple[list[float], list[int]]] = {"alone": ([], []), "free": ([], []), "governed": ([], [])}
    _p99(world, 0)  # warms up, and does not count
    with start_postgres() as sink:  # what the target does is no matter of the source's users
        _rounds(world, sink.database("lake"), found)
    return found


def _rounds(world: World, lake: str, found: dict[str, tuple[list[float], list[int]]]) -> None:
    number = 0
    for _ in range(world.rounds):
        for way, adapt in (("alone", None), ("free", ""), ("governed", ", adapt: true")):
            world.settle("users", "src")
            number += 1
            if adapt is None:
                found[way][0].append(_p99(world, number))
                continue
            with _loading(world, lake, adapt) as moved:
                found[way][0].append(_p99(world, number))
            found[way][1].extend(moved)


def _rows(world: World) -> list[Row]:
    found = _measured(world)
    alone = found["alone"][0]
    rows = []
    for way, name in (("alone", "pgbench alone"), ("free", "load and log beside it"), ("governed", "… governed")):
        values, moved = found[way]
        ratio = statistics.median(a / b for a, b in zip(alone, values, strict=True))
        middle = statistics.median(values)
        told = f"p99 {middle:.1f} ms ({min(values):.1f}–{max(values):.1f}), {100 / ratio - 100:+.0f} %"
        if moved:
            told += f", {statistics.median(moved):,.0f} rows/s"
        rows.append(
            Row(name, middle / 1e3, min(values) / 1e3, max(values) / 1e3, ratio, 0.0, 0.0, 0.0, 0.0, middle, told)
        )
    return [rows[0], rows[2], rows[1]]


SCENARIOS = [
    Scenario("governed", f"p99 of {_RATE} transactions/s on a source that is loaded and followed, with `adapt: true`",
             "pgbench alone", 1 / 1.1, 1 / 1.5, _rows),
]  # fmt: skip
