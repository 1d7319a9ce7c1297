"""`python -m bench.replicas`: calls through a proxy to two replicas while one is killed, one replaced and the
configuration changed again and again.

Prints one JSON document; fails below 99.9 % of calls answered as they should be, or if a change does not count in both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.calling import free_port
from bench.measure import resident_mb
from bench.world import World
from tongqu.app.services.load_volley import Place, Shots, Volley, fire
from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.install import program
from tongqu.testing.services.redis import start_redis

LEAST = 0.999
_AWAY = 5.0
"""Seconds after which a killed replica is started again."""
_SEEN = 30.0
"""Seconds within which a change must count in a replica that is up."""
_PROJECT = """
project: replicas
connections:
  shop: {{type: postgres, url: "{url}"}}
datasets:
  orders: {{fields: {{customer: {{class: personal, mask: name}}}}}}
apis:
  orders:
    title: {{en: {title}}}
    source: {{connection: shop, dataset: orders}}
    access: {{roles: [sales], fields: {{customer: {{roles: [hr], otherwise: mask}}}}}}
    limit: {{requests: {limit}, per: minute}}
    cache: {{seconds: {seconds}}}
gateway:
  trusted_proxies: [127.0.0.1/32]
  limits: {{address: {{requests: 1000000, burst: 100000}}, redis: "${{env:SHARED_REDIS}}"}}
  cache: {{redis: "${{env:SHARED_REDIS}}"}}
"""
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream replicas {{ server 127.0.0.1:{one} fail_timeout=1s; server 127.0.0.1:{two} fail_timeout=1s; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_next_upstream error timeout http_502 http_503; proxy_connect_timeout 1s; proxy_read_timeout 10s;
    }}
  }}
}}
"""


@dataclass
class Seen:
    """What happened meanwhile. Seconds until a change counted are the longest of those of the replicas that were up;
    memory is in MiB, of both replicas, from time to time."""

    changes: int = 0
    unseen: int = 0
    longest: float = 0.0
    killed: int = 0
    replaced: int = 0
    memory: list[float] = field(default_factory=list)


class Stage:
    """Two replicas of one project behind nginx."""

    def __init__(self, world: World, opened: ExitStack):
        self._folder = world.folder / "replicas"
        self._folder.mkdir()
        self._url = world.url("src")
        redis = opened.enter_context(start_redis())
        self._environ = {**world.environment, "SHARED_REDIS": redis.database()}
        del self._environ["TONGQU_HOME"]
        self._ports = [free_port(), free_port()]
        self.port = free_port()
        self.write(0)
        self._inside("apply")
        self._inside("client", "add", "bench", "--role", "sales")
        self.token = self.issued()
        self.replicas = [self._replica(number) for number in (0, 1)]
        opened.callback(lambda: [replica.stop() for replica in self.replicas])
        config = self._folder / "nginx.conf"
        one, two = self._ports
        config.write_text(_NGINX.format(folder=self._folder, port=self.port, one=one, two=two))
        nginx = subprocess.Popen([str(program("nginx", "nginx")), "-c", str(config), "-p", str(self._folder)])
        opened.callback(nginx.wait)
        opened.callback(nginx.terminate)
        self._proxied()

    def _proxied(self) -> None:
        until, pause = time.monotonic() + _SEEN, threading.Event()
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                pause.wait(0.05)
        raise RuntimeError("nginx does not listen")

    def _inside(self, *words: str) -> Any:
        done = inside(self._folder, *words, "--json", **self._environ, TONGQU_HOME=str(self._folder / "home"))
        if done.code:
            raise RuntimeError(f"{' '.join(words)}: {done.err}{done.out}")
        return done.document

    def _replica(self, number: int) -> Gateway:
        gateway = Gateway(
            self._folder, "--port", str(self._ports[number]), "--concurrency", "0", files=False, environ=self._environ
        )
        gateway.__enter__()
        return gateway

    def issued(self) -> str:
        """A token for an hour."""
        return str(self._inside("token", "issue", "bench", "--ttl", "60m")["access_token"])

    def write(self, number: int) -> None:
        """The files of the n-th configuration."""
        text = _PROJECT.format(
            url=self._url, title=f"orders {number}", limit=1_000_000 + number, seconds=1 + number % 5
        )
        (self._folder / "tongqu.yaml").write_text(text)

    def change(self, number: int) -> str:
        """Apply the n-th configuration; its version."""
        self.write(number)
        return str(self._inside("apply", "--reason", f"change {number}")["version"])

    def again(self, number: int, how: signal.Signals) -> None:
        """End a replica and start it again."""
        self.replicas[number].stop(how)
        if how is signal.SIGKILL:
            threading.Event().wait(_AWAY)
        self.replicas[number] = self._replica(number)


def _counts(stage: Stage, version: str) -> float:
    """Seconds until both replicas answer with a version; -1 if they do not."""
    began = time.monotonic()
    for replica in stage.replicas:
        try:
            replica.until(
                lambda answer: answer.headers.get("tongqu-config", "").startswith(f"{version}."), "/api", _SEEN
            )
        except TimeoutError:
            return -1.0
    return time.monotonic() - began


def disturb(stage: Stage, seconds: float, changes: int, over: threading.Event, seen: Seen) -> None:
    """Change the configuration at a steady pace; kill one replica at a third of the time, replace the other at two."""
    began, due = time.monotonic(), [(seconds * (n + 0.5) / changes, n + 1) for n in range(changes)]
    ends = {1: (seconds / 3, signal.SIGKILL), 0: (2 * seconds / 3, signal.SIGTERM)}
    for at, number in due:
        if over.wait(max(0.0, began + at - time.monotonic())):
            return
        for which, (when, how) in list(ends.items()):
            if at >= when:
                del ends[which]
                stage.again(which, how)
                seen.killed += how is signal.SIGKILL
                seen.replaced += how is signal.SIGTERM
        took = _counts(stage, stage.change(number))
        stage.token = stage.issued()
        seen.changes += 1
        seen.unseen += took < 0
        seen.longest = max(seen.longest, took)
        seen.memory.append(round(sum(resident_mb(one.pid) for one in stage.replicas), 1))


def calls(stage: Stage, seconds: float, rate: float) -> Shots:
    """Pages, single rows and cache hits, in turn, at a steady pace."""
    targets = ("/api/v1/orders?id=gt.{id}&order=id&limit=20", "/api/v1/orders/{id}", "/api/v1/orders?order=id&limit=20")
    where = ("127.0.0.1", stage.port)

    def request(number: int) -> bytes:
        target = targets[number % len(targets)].format(id=1 + number * 7919 % 9_000)
        head = f"Host: 127.0.0.1:{stage.port}\r\nAuthorization: Bearer {stage.token}\r\n\r\n"
        return f"GET {target} HTTP/1.1\r\n{head}".encode("ascii")

    place = Place(where[0], lambda: socket.create_connection(where, 10))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(fire(place, Volley(request, 16, seconds, rate)))


def main() -> int:
    """Run it; 1 if it does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=50, help="calls a second")
    parser.add_argument("--changes", type=int, default=100)
    told = parser.parse_args()
    seen, over, failures = Seen(), threading.Event(), list[BaseException]()
    with World(10_000, 1) as world, ExitStack() as opened:
        stage = Stage(world, opened)

        def work() -> None:
            try:
                disturb(stage, told.seconds, told.changes, over, seen)
            except BaseException as error:  # noqa: BLE001  # raised below
                failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            shots = calls(stage, told.seconds, told.rate)
        finally:
            over.set()
            worker.join()
    if failures:
        raise failures[0]
    sent = sum(shots.statuses.values()) + shots.broken + shots.unsent
    share = shots.statuses[200] / max(1, sent)
    times = {f"p{100 * q:g}_ms": round(1000 * shots.percentile(q), 1) for q in (0.5, 0.99, 0.999)}
    print(json.dumps({
        "seconds": told.seconds, "calls": sent, "good": round(share, 6), "statuses": dict(shots.statuses),
        "broken": shots.broken, "unsent": shots.unsent, **times, "changes": seen.changes, "unseen": seen.unseen,
        "longest_until_seen_s": round(seen.longest, 2), "killed": seen.killed, "replaced": seen.replaced,
        "memory_mb": [seen.memory[0], seen.memory[-1]] if seen.memory else [],
    }, indent=2))  # fmt: skip
    complete = seen.changes == told.changes and seen.killed == seen.replaced == 1 and not seen.unseen
    return 0 if share >= LEAST and complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
