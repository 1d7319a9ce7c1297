"""What those who use a source notice of a full load of it: pgbench's p99, with a governor and without."""

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

_SECONDS = int(os.environ.get("BENCH_GOVERNED_SECONDS", "20"))
"""Of one phase."""
_RATE, _CLIENTS, _SCALE = 200, 4, 5
_WARM = 10.0
_PROJECT = """
project: bench
connections:
  erp: {{type: postgres, url: "{source}"{adapt}}}
  lake: {{type: postgres, url: "{sink}"}}
pipelines:
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
def _loading(world: World, adapt: str) -> Iterator[list[int]]:
    """A full load of the orders, begun anew whenever it has ended; gives the rows that came."""
    folder = world.folder / ("governed" if adapt else "free")
    folder.mkdir(exist_ok=True)
    text = _PROJECT.format(source=world.url("src"), sink=world.url("dst"), adapt=adapt)
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    moved: list[int] = []
    command = f"cd {folder}; while :; do {world.tongqu} run orders --json --restart || exit 1; done"
    with (world.folder / "commands.log").open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            ["bash", "-c", command], stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **world.environment, "TONGQU_HOME": str(folder / "home")},
        )  # fmt: skip
        before = _inserted(world)
        time.sleep(_WARM)
        try:
            yield moved
            if process.poll() is not None:
                raise RuntimeError(f"the load ended with {process.returncode}; see {log.name}")
            moved.append(round((_inserted(world) - before) / (time.monotonic() - began)))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _inserted(world: World) -> int:
    return int(world.sql("dst", "SELECT tup_inserted FROM pg_stat_database WHERE datname = 'dst'"))


@cache
def _measured(world: World) -> dict[str, tuple[list[float], list[int]]]:
    world.postgres.database("users")
    world.shell(f"{world.postgres.binaries / 'pgbench'} -i -q -s {_SCALE} users")
    found: dict[str, tuple[list[float], list[int]]] = {"alone": ([], []), "free": ([], []), "governed": ([], [])}
    _p99(world, 0)  # warms up, and does not count
    number = 0
    for _ in range(world.rounds):
        for way, adapt in (("alone", None), ("free", ""), ("governed", ", adapt: true")):
            world.settle("users", "src", "dst")
            number += 1
            if adapt is None:
                found[way][0].append(_p99(world, number))
                continue
            with _loading(world, adapt) as moved:
                found[way][0].append(_p99(world, number))
            found[way][1].extend(moved)
    return found


def _rows(world: World) -> list[Row]:
    found = _measured(world)
    alone = found["alone"][0]
    rows = []
    for way, name in (("alone", "pgbench alone"), ("free", "full load beside it"), ("governed", "governed load")):
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
    Scenario("governed", f"p99 of {_RATE} transactions/s on a source while it is loaded in full, with `adapt: true`",
             "pgbench alone", 1 / 1.1, 1 / 1.5, _rows),
]  # fmt: skip
