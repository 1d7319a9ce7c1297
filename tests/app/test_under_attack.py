"""Hostile requests from one and from many addresses, while somebody works: the good calls are answered."""

from __future__ import annotations

import http.client
import itertools
import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote, urlsplit

from tongqu.gateway.attacks.injections import injections
from tongqu.testing.services.gateway import Gateway

CALLS = 100
GOOD_PER_SECOND = 50
PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
apis:
  inspections:
    source: {connection: lake, dataset: inspection}
    access: {public: true}
    limit: {requests: 6000, per: minute}
gateway:
  trusted_proxies: [127.0.0.1/32]
  limits: {address: {requests: 6000, per: minute, burst: 100}}
"""


def test_good_calls_are_answered_while_others_attack(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "lake.db") as lake:
        lake.execute("CREATE TABLE inspection (lot TEXT PRIMARY KEY, inspector TEXT)")
        lake.executemany("INSERT INTO inspection VALUES (?, 'O''Brien')", [(f"L{n}",) for n in range(50)])
    lake.close()
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    over = threading.Event()
    with Gateway(tmp_path) as gateway:
        port = urlsplit(gateway.url).port or 0
        counts: dict[int, int] = {}
        attackers = [threading.Thread(target=attack, args=(port, over, turn, counts)) for turn in range(2)]
        for one in attackers:
            one.start()
        good = [call(port, f"?lot=eq.L{n % 50}", "198.51.100.7", over) for n in range(CALLS)]
        over.set()
        for one in attackers:
            one.join()
        assert gateway.ask("/readyz").status == 200
    assert set(good) == {200}
    assert sum(counts.values()) > 200
    assert set(counts) <= {400, 401, 403, 404, 405, 413, 414, 429, 431}


def call(port: int, query: str, address: str, over: threading.Event) -> int:
    """One good call of those that come at a steady pace."""
    over.wait(1 / GOOD_PER_SECOND)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", f"/api/v1/inspections{query}", headers={"x-forwarded-for": address})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def attack(port: int, over: threading.Event, turn: int, counts: dict[int, int]) -> None:
    """Bad tokens, injections, oversize and floods, from one address and from ten thousand, on one connection."""
    payloads = itertools.cycle([one.text for one in injections()][turn::7])
    numbers = itertools.count(turn)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not over.is_set():
        number = next(numbers)
        address = "203.0.113.9" if number % 2 else f"10.{number % 100}.{number // 100 % 100}.1"
        kinds = (
            (f"?lot=eq.{quote(next(payloads).encode('utf-8', 'replace'), safe='')}", ""),
            ("?limit=1", "Bearer eyJhbGciOiJub25lIn0.e30.x"),
            ("?lot=eq." + "a" * 9000, ""),
            ("?nothing=eq.1", "Bearer " + "a" * 200),
        )
        query, token = kinds[number // 2 % len(kinds)]
        headers = {"x-forwarded-for": address, **({"authorization": token} if token else {})}
        connection.request("GET", f"/api/v1/inspections{query}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        counts[answer.status] = counts.get(answer.status, 0) + 1
    connection.close()
