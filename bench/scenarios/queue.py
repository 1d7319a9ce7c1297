"""The embedded queue's durable appends, beside a SQLite transaction per record and a bare file."""

from __future__ import annotations

import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory

from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_WAYS = {
    "one": ("SQLite, a commit per record", 10_000),
    "singles": ("tongqu queue, single records of 16 threads", 64_000),
    "blocks": ("tongqu queue, blocks of 1,000 of 8 threads", 800_000),
    "segment": ("a bare file, blocks of 1,000", 800_000),
}


def _rate(world: World, way: str, records: int) -> float:
    with TemporaryDirectory(dir=world.folder) as folder:
        command = [sys.executable, "-m", "bench.queue_appends", way, folder, str(records)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} ended with {done.returncode}: {done.stderr[-500:]}")
    return float(done.stdout)


def _appends(world: World) -> list[Row]:
    rates: dict[str, list[float]] = {way: [] for way in _WAYS}
    for number in range(world.rounds):
        turn = list(_WAYS)[number % len(_WAYS) :] + list(_WAYS)[: number % len(_WAYS)]
        for way in turn:
            rates[way].append(_rate(world, way, _WAYS[way][1]))
    rows = []
    for way, (name, records) in _WAYS.items():
        found = rates[way]
        middle = statistics.median(found)
        ratio = statistics.median(own / limit for own, limit in zip(found, rates["one"], strict=True))
        seconds = [records / rate for rate in found]
        told = f"{middle:,.0f} records/s"
        rows.append(
            Row(name, records / middle, min(seconds), max(seconds), ratio, 0.0, 0.0, 0.0, 0.0, value=middle, told=told)
        )
    return rows


SCENARIOS = [
    Scenario("queue", "Durable appends of records of 200 bytes", "SQLite, a commit per record", 5, 5, _appends)
]
