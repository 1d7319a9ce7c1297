"""A day of questions of which few are asked often, while the data changes: how much the cache keeps from the source."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from bisect import bisect
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.measure import Row
from bench.scenarios.gateway import PROJECT, bearer, gateway
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.app.services.load_volley import Place, Shots, Volley, fire
from tongqu.testing.services.gateway import Gateway

CALLS = 20_000
QUESTIONS = 2_000
CHANGES = 20
"""Commits through the API while the questions are asked; each ends what is kept of its table."""
_SKEW = 1.1
_KEPT = "    write: {{insert: true, update: true, ingest: true}}"


def _day(world: World) -> list[Row]:
    """Two tables: one is written now and then, the other rests."""
    project = PROJECT.replace(_KEPT, f"{_KEPT}\n    cache: {{{{seconds: 3600}}}}")
    with gateway(world, project) as (ours, token):
        headers = [*bearer(token).items()]
        rows = [{"id": number, "lot": f"L{number % 50}", "qty": 0} for number in range(1000)]
        ours.ask("/api/v1/parcels", "POST", rows, [*headers, ("prefer", "resolution=merge-duplicates")])
        before = _counted(ours)
        shots, stale = Shots(), 0
        for number in range(CHANGES):
            changed = ours.ask("/api/v1/parcels/7", "PATCH", {"qty": number}, headers)
            if changed.status >= 300:
                raise RuntimeError(f"the row is not changed: {changed.status} {changed.body!r}")
            stale += ours.ask("/api/v1/parcels/7", headers=headers).json["qty"] != number
            _ask(ours.url, token, number, shots)
        asked, origin = (after - now for after, now in zip(_counted(ours), before, strict=True))
    wrong = sum(many for status, many in shots.statuses.items() if status != 200) + shots.broken
    if stale or wrong:
        raise RuntimeError(f"{stale} stale answers, {wrong} refused or broken")
    share = origin / max(1, asked)
    told = f"{100 * share:.1f} % of {asked:,.0f} questions reached the source, 0 stale after {CHANGES} commits"
    half, slow = shots.percentile(0.5), shots.percentile(0.99)
    row = Row("tongqu serve", half, half, slow, 1.0, 0.0, 0.0, 1.0, 0.0, 1 - share, told)
    return [row, row]


def _ask(url: str, token: str, turn: int, shots: Shots) -> None:
    """A twentieth of the day."""
    chance = random.Random(turn)  # noqa: S311  # made-up questions, the same every time
    weights = [*accumulate(1 / rank**_SKEW for rank in range(1, QUESTIONS + 1))]
    parts = urlsplit(url)
    shown = "".join(f"{name}: {value}\r\n" for name, value in bearer(token).items())

    def request(number: int) -> bytes:
        question = bisect(weights, chance.random() * weights[-1])
        path = f"/api/v1/kept?id=gt.{question * 20}&order=id&limit=20"
        if question % 4 == 0:
            path = f"/api/v1/parcels?id=gt.{question // 4}&order=id&limit=20"
        return f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{shown}\r\n".encode()

    where = (str(parts.hostname), parts.port or 80)
    place = Place(where[0], lambda: socket.create_connection(where, 10))
    rate = 1000.0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        part = runner.run(fire(place, Volley(request, 16, CALLS / CHANGES / rate, rate)))
    shots.statuses.update(part.statuses)
    shots.latencies.extend(part.latencies)
    shots.kinds.extend(part.kinds)
    shots.broken += part.broken


def _counted(ours: Gateway) -> tuple[float, float]:
    """Questions that the cache was asked, and those that it had to ask the source."""
    found: dict[str, Any] = {}
    for line in ours.ask("/metrics").body.decode().splitlines():
        if line.startswith("tongqu_cache_total{"):
            name, _, value = line.rpartition(" ")
            found[json.loads(name.partition("result=")[2].rstrip("}"))] = float(value)
    return sum(found.values()), found.get("miss", 0.0) + found.get("bypass", 0.0)


SCENARIOS = [
    Scenario("api-zipf", f"Cache, {CALLS:,} questions by Zipf's law over {QUESTIONS:,}: share not asked of the source",
             "0.6", 0.6, 0.6, _day, "value"),
]  # fmt: skip
