"""3,000 hostile requests a second while somebody works with 50: who works notices nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop

from bench.calling import python
from bench.measure import Row, cpu_seconds, resident_mb
from bench.scenarios.gateway import PROJECT, gateway
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.app.services.load_volley import Place, Shots, Volley, fire

SECONDS = float(os.environ.get("BENCH_ATTACK_SECONDS", "600"))
HOSTILE = float(os.environ.get("BENCH_ATTACK_RATE", "3000"))
GOOD = 50.0
_CALM = 30.0
_LIMITS = "limits: {{address: {{requests: 1000000000, burst: 1000000000}}}}"


@dataclass(frozen=True)
class Attacked:
    """What was seen. Seconds of CPU are those of the gateway for one refused request; memory in MiB, first and last
    fifth of the time."""

    calm: Shots
    good: Shots
    hostile: int
    rate: float
    cpu: float
    memory: tuple[float, float]
    statuses: str


_known: dict[int, Attacked] = {}


def _attacked(world: World) -> Attacked:
    """One attack, from which several numbers are taken."""
    if id(world) not in _known:
        _known[id(world)] = _attack(world)
    return _known[id(world)]


def _attack(world: World) -> Attacked:
    project = PROJECT.replace(_LIMITS, "shield: refuse")
    with gateway(world, project) as (ours, token):
        used = cpu_seconds([ours.pid])
        calm = _work(ours.url, token, _CALM)
        idle = (cpu_seconds([ours.pid]) - used) / _CALM
        command = python("bench.hostile", ours.url, "/api/v1/orders", str(SECONDS), str(HOSTILE))
        seen: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(min(1.0, SECONDS / 20)):
                seen.append(resident_mb(ours.pid))

        watcher = threading.Thread(target=watch)
        used = cpu_seconds([ours.pid])
        hostile = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watcher.start()
        try:
            good = _work(ours.url, token, SECONDS)
            out, _ = hostile.communicate(timeout=60)
        finally:
            over.set()
            watcher.join()
            hostile.kill()
            hostile.wait()
        told = json.loads(out)
        count = sum(told["statuses"].values())
        wrong = {status: many for status, many in told["statuses"].items() if not 400 <= int(status) < 500}
        if wrong:
            raise RuntimeError(f"hostile requests were not refused: {wrong}")
        cpu = (cpu_seconds([ours.pid]) - used - idle * SECONDS) / max(1, count)
        fifth = max(1, len(seen) // 5)
        memory = (max(seen[:fifth]), max(seen[-fifth:]))
        return Attacked(calm, good, count, count / told["seconds"], cpu, memory, json.dumps(told["statuses"]))


def _work(url: str, token: str, seconds: float) -> Shots:
    """Good calls at their pace, one after the other on a few connections, from an address of their own."""
    parts = urlsplit(url)
    where = (str(parts.hostname), parts.port or 80)
    lines = ["GET /api/v1/orders?id=gt.1000&order=id&limit=20 HTTP/1.1", f"Host: {parts.netloc}",
             "X-Forwarded-For: 198.51.100.7", f"Authorization: Bearer {token}"]  # fmt: skip
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    place = Place(where[0], lambda: socket.create_connection(where, 10))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(fire(place, Volley(lambda _: head, 8, seconds, GOOD)))


def _row(method: str, shots: Shots, value: float, told: str) -> Row:
    half, slow = shots.percentile(0.5), shots.percentile(0.99)
    return Row(method, half, half, slow, 1.0, 0.0, 0.0, 1.0, 0.0, value, told)


def _answered(world: World) -> list[Row]:
    seen = _attacked(world)
    sent = sum(seen.good.statuses.values()) + seen.good.broken + seen.good.unsent
    share = seen.good.statuses[200] / max(1, sent)
    told = f"{100 * share:.3f} % of {sent:,} good calls, beside {seen.rate:,.0f} hostile requests/s ({seen.statuses})"
    row = _row("good calls", seen.good, share, told)
    return [row, row]


def _latency(world: World) -> list[Row]:
    seen = _attacked(world)
    calm, hard = seen.calm.percentile(0.99), seen.good.percentile(0.99)
    told = f"p99 {1000 * hard:.1f} ms, without the attack {1000 * calm:.1f} ms"
    row = _row("good calls", seen.good, calm / max(hard, 1e-9), told)
    return [row, row]


def _cost(world: World) -> list[Row]:
    seen = _attacked(world)
    row = _row("refusals", seen.good, 0.0003 / max(seen.cpu, 1e-9), f"{1000 * seen.cpu:.3f} ms CPU a refused request")
    return [row, row]


def _memory(world: World) -> list[Row]:
    seen = _attacked(world)
    first, last = seen.memory
    row = _row(
        "gateway", seen.good, first / max(last, 1e-9), f"{first:.0f} MiB in the first fifth, {last:.0f} in the last"
    )
    return [row, row]


SCENARIOS = [
    Scenario("attack", f"Attack, {HOSTILE:,.0f} hostile requests/s for {SECONDS:,.0f} s: share of good calls answered",
             "0.999", 0.999, 0.999, _answered, "value"),
    Scenario("attack-p99", "… p99 without the attack / with it", "0.5", 0.5, 0.5, _latency, "value"),
    Scenario("attack-cost", "… 0.3 ms / CPU of a refusal", "1", 1.0, 1.0, _cost, "value"),
    Scenario("attack-memory", "… memory of the first fifth / of the last", "0.95", 0.95, 0.9, _memory, "value"),
]  # fmt: skip
