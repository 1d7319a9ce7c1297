"""`python -m bench.hostile URL PATH SECONDS RATE`: hostile requests at a steady pace; prints what came back as JSON."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from itertools import cycle
from urllib.parse import quote, urlsplit

import uvloop

from tongqu.app.services.load_volley import Place, Volley, fire
from tongqu.gateway.attacks.heads import tokens
from tongqu.gateway.attacks.injections import injections

ADDRESSES = 10_000
_CONNECTIONS = 100
_MANY = 20_000


def requests(host: str, path: str) -> list[bytes]:
    """Bad tokens, injections, oversized heads and bodies, and plain floods: half from one address, half from ten
    thousand, as a proxy in front would tell."""
    bad = cycle([token for _, token in tokens()])
    texts = cycle([quote(one.text.encode("utf-8", "replace"), safe="") for one in injections()])
    made = []
    for number in range(_MANY):
        other = number // 2 % ADDRESSES
        address = "203.0.113.9" if number % 2 else f"10.{other // 250}.{other % 250}.7"
        kind = number // 2 % 5
        target, token = path, next(bad)
        if kind == 1:
            target, token = f"{path}?order_no=eq.{next(texts)}&limit=1", ""
        elif kind == 2:
            target = f"{path}?order_no=eq.{'a' * 9000}"
        elif kind == 3:
            token = "a" * 200
        elif kind == 4:
            target, token = f"{path}?limit=1", ""
        head = [f"GET {target} HTTP/1.1", f"Host: {host}", f"X-Forwarded-For: {address}"]
        head += [f"Authorization: Bearer {token}"] if token and token.isprintable() and token.isascii() else []
        made.append(("\r\n".join(head) + "\r\n\r\n").encode("ascii"))
    return made


async def attack(url: str, path: str, seconds: float, rate: float) -> dict[str, object]:
    """Send them; what came back."""
    parts = urlsplit(url)
    made = requests(parts.netloc, path)
    where = (str(parts.hostname), parts.port or 80)
    place = Place(where[0], lambda: socket.create_connection(where, 10))
    shots = await fire(place, Volley(lambda number: made[number % len(made)], _CONNECTIONS, seconds, rate))
    statuses = {str(status): count for status, count in sorted(shots.statuses.items())}
    return {"statuses": statuses, "broken": shots.broken, "unsent": shots.unsent, "seconds": shots.seconds}


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(attack(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))))
