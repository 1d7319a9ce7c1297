"""Measures how many calls a published API of a running gateway answers, how long they take, and what holds it back."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tongqu.app.services.load_volley import Place, Shots, Volley, fire
from tongqu.core.errors import AuthError, ConnectError, InvalidSettingsError, NotFoundError
from tongqu.kit.egress.dial import Egress

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

Bottleneck = Literal["none", "limit", "errors", "client", "gateway", "machine", "source", "network"]
CALM_SECONDS = 1.0
"""How long one connection alone calls before the others come."""
PROBES = 10.0
"""Calls a second to `/healthz` while the load runs: what they take is gateway and network without the source."""
_BUSY = 0.85
_SECONDS = 10.0
_ONCE = (0.05, 10.0)
"""Seconds and rate of a volley of one call."""
_PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


@dataclass(frozen=True)
class LoadRequest:
    """What is called, and how hard. `api` is a name, `VERSION/NAME` or a path; `query` what stands behind `?`."""

    api: str
    url: str = ""
    query: str = ""
    token: str = ""
    connections: int = 16
    seconds: float = 10.0
    rate: float = 0.0
    ca_file: str = ""


@dataclass(frozen=True)
class Seen:
    """What was seen under load, from which the bottleneck is told. Shares of processors are of one (`client`, `gateway`
    by process) or of all (`machine`); -1 where they cannot be seen, as on another machine."""

    sent: int
    refused: int
    """Answers 429 and 503."""
    failed: int
    """Other answers of 400 and above, and broken connections."""
    rate: float
    """What was asked for; 0: as much as there is."""
    reached: float
    client: float
    gateway: float
    machine: float
    latency: float
    """Median of the API's good answers, in seconds."""
    probe: float
    """Median of `/healthz` at the same time."""


def bottleneck(seen: Seen) -> Bottleneck:
    """What holds the API back first.

    `limit`: calls are refused or shed; `errors`: more than one in a hundred fails; `client`: this command cannot send
    more; `gateway`: its processes are busy; `machine`: all processors are, together; `none`: the asked rate was
    reached; then most of the time is spent on the `source`, or before the gateway begins, on the `network`.
    """
    if seen.refused * 100 > seen.sent:
        return "limit"
    if seen.failed * 100 > seen.sent:
        return "errors"
    if seen.rate and seen.reached >= 0.95 * seen.rate:
        return "none"
    if seen.gateway >= _BUSY:
        return "gateway"
    if seen.client >= _BUSY:
        return "client"
    if seen.machine >= 0.95:
        return "machine"
    return "network" if seen.probe > seen.latency / 2 else "source"


def load(wire: Wire, request: LoadRequest) -> dict[str, Any]:
    """The document of one measurement. Raises InvalidSettingsError, ConnectError, AuthError, NotFoundError before any
    load."""
    import uvloop

    from tongqu.app.services.serve_place import running

    owner = running(wire.home.serve)
    url = request.url or str((owner or {}).get("url", ""))
    if not url:
        raise InvalidSettingsError(
            "no gateway runs in this home", path="--url", hint="start one with `tongqu serve`, or name it with --url"
        )
    pid = int(owner["pid"]) if owner and owner["url"] == url else 0
    aim = _aim(url, request)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return _document(request, aim, runner.run(_measured(request, aim, pid)))


@dataclass(frozen=True)
class _Aim:
    """Where the calls go and what they are."""

    url: str
    path: str
    place: Place
    call: bytes
    probe: bytes


@dataclass(frozen=True)
class _Measured:
    """What came back: of one connection alone, of all, of the probes beside them; and what it cost."""

    calm: Shots
    shots: Shots
    health: Shots
    used: _Usage


async def _measured(request: LoadRequest, aim: _Aim, pid: int) -> _Measured:
    try:
        _check(aim.path, await fire(aim.place, Volley(lambda _: aim.call, 1, *_ONCE)))
        calm = await fire(aim.place, Volley(lambda _: aim.call, 1, CALM_SECONDS))
    except OSError as error:
        raise ConnectError(f"the gateway does not answer at {aim.url}", path="--url", hint=str(error)) from error
    workers = _family(pid) if pid else []
    before, began = _Usage.now(workers), time.monotonic()
    volley = Volley(lambda _: aim.call, request.connections, request.seconds, request.rate)
    probes = Volley(lambda _: aim.probe, 1, request.seconds, PROBES)
    shots, health = await asyncio.gather(fire(aim.place, volley), fire(aim.place, probes))
    return _Measured(calm, shots, health, _Usage.now(workers).since(before, time.monotonic() - began))


def _document(request: LoadRequest, aim: _Aim, measured: _Measured) -> dict[str, Any]:
    shots, used = measured.shots, measured.used
    statuses, seconds = shots.statuses, max(shots.seconds, 0.001)
    answered, refused = sum(statuses.values()), statuses[429] + statuses[503]
    good = sum(count for status, count in statuses.items() if status < 400)
    failed = answered - good - refused + shots.broken
    seen = Seen(
        answered + shots.broken + shots.unsent, refused, failed, request.rate, answered / seconds, used.client,
        used.gateway, used.machine, shots.percentile(0.5), measured.health.percentile(0.5),
    )  # fmt: skip
    return {
        "url": aim.url, "api": aim.path, "connections": request.connections, "rate": request.rate or None,
        "seconds": round(seconds, 3), "requests": answered, "good": good, "refused": refused, "failed": failed,
        "unsent": shots.unsent, "statuses": {str(key): statuses[key] for key in sorted(statuses)},
        "requests_per_second": round(good / seconds, 1), "bytes": shots.bytes,
        "latency_ms": {name: _ms(shots.percentile(share)) for name, share in _PERCENTILES},
        "alone_ms": {"p50": _ms(measured.calm.percentile(0.5))},
        "health_ms": {"p50": _ms(seen.probe)},
        "cpu": {"client": _told(used.client), "gateway": _told(used.gateway), "machine": _told(used.machine)},
        "bottleneck": bottleneck(seen),
    }  # fmt: skip


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _check(path: str, once: Shots) -> None:
    """Refuse to load what cannot be called at all."""
    status = next(iter(once.statuses), 0)
    if 0 < status < 400:
        return
    if status in (401, 403):
        raise AuthError(f"the gateway refuses to read {path} ({status})", hint="give a good --token")
    raise NotFoundError(f"{path} cannot be read ({status})", path="API", hint="see `tongqu api list`")


def _path(api: str) -> str:
    if api.startswith("/"):
        return api
    return f"/api/{api}" if "/" in api else f"/api/v1/{api}"


def _aim(url: str, request: LoadRequest) -> _Aim:
    parts = urlsplit(url)
    name = parts.hostname
    if parts.scheme not in ("http", "https") or not name:
        raise InvalidSettingsError("the gateway's URL is http:// or https:// and a host", path="--url")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    egress = Egress()
    context = ssl.create_default_context(cafile=request.ca_file or None) if parts.scheme == "https" else None

    def connect() -> socket.socket:
        return egress.connect(name, port, _SECONDS)

    host, path = parts.netloc.rpartition("@")[2], _path(request.api) + (f"?{request.query}" if request.query else "")
    call, probe = _head(host, path, request.token), _head(host, "/healthz", "")
    return _Aim(url, path, Place(name, connect, context), call, probe)


def _head(host: str, target: str, token: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    if any(mark in line for line in lines for mark in "\r\n"):
        raise InvalidSettingsError("an address or a token has no line breaks", path="--token")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "strict")


@dataclass(frozen=True)
class _Usage:
    """Processor seconds so far, or shares of a time: of this process, of the busiest gateway process, of the machine;
    -1 where they cannot be seen."""

    client: float
    gateway: float
    machine: float
    by_process: Mapping[int, float]

    @classmethod
    def now(cls, workers: Sequence[int]) -> _Usage:
        spent = {pid: _spent(pid) for pid in workers}
        return cls(time.process_time(), -1.0, _machine(), spent)

    def since(self, before: _Usage, seconds: float) -> _Usage:
        shares = {pid: (self.by_process[pid] - before.by_process[pid]) / seconds for pid in self.by_process}
        whole = seconds * (os.cpu_count() or 1)
        machine = (self.machine - before.machine) / whole if shares and self.machine >= 0 else -1.0
        return _Usage((self.client - before.client) / seconds, max(shares.values(), default=-1.0), machine, shares)


def _told(share: float) -> float | None:
    return None if share < 0 else round(share, 3)


_HERTZ = os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    """The process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *map(int, children)]


def _spent(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _HERTZ


def _machine() -> float:
    """Processor seconds of the whole machine that were not idle; -1 where they are not told."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return -1.0
    user, nice, system, _idle, _wait, *rest = map(int, words)
    return (user + nice + system + sum(rest)) / _HERTZ
