"""Steps that keep state: rows a second in durable chunks of 20,000, beside one GROUP BY over all rows in memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory

from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_WAYS = {
    "query": ("DuckDB, one GROUP BY in memory", 2_000_000),
    "groups": ("changes, sum and count of 10,000 groups", 1_000_000),
    "window": ("messages, the same in windows of one minute", 1_000_000),
}


def _rate(world: World, way: str, rows: int) -> float:
    with TemporaryDirectory(dir=world.folder) as folder:
        command = [sys.executable, "-m", "bench.state_chunks", way, folder, str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} ended with {done.returncode}: {done.stderr[-500:]}")
    return float(done.stdout)


def _chunks(world: World) -> list[Row]:
    rates: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(world.rounds):
        for way, (_, number) in _WAYS.items():
            rates[way].append(_rate(world, way, number))
    rows = []
    for way, (name, number) in _WAYS.items():
        middle = statistics.median(rates[way])
        ratio = statistics.median(own / limit for own, limit in zip(rates[way], rates["query"], strict=True))
        seconds = [number / rate for rate in rates[way]]
        rows.append(
            Row(name, number / middle, min(seconds), max(seconds), ratio, 0.0, 0.0, 0.0, 0.0, value=middle,
                told=f"{middle:,.0f} rows/s")
        )  # fmt: skip
    return rows


SCENARIOS = [
    Scenario("state", "Rows through steps that keep state", _WAYS["query"][0], 50_000, 20_000, _chunks, "value")
]
