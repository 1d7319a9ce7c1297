"""Measures HTTP servers against each other with wrk, interleaved round by round."""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Row, cpu_seconds, resident_mb

CONNECTIONS = 64
_CALLS = 1000
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_SCRIPT = """
math.randomseed(42)
local headers = {%(headers)s}
request = function()
  local path = "%(path)s"
  path = path:gsub("{id}", tostring(math.random(1, %(most)d)))
  return wrk.format("%(method)s", path, headers, (%(body)s):gsub("{id}", tostring(math.random(%(most)d, 2000000000))))
end
"""


@dataclass
class Caller:
    """A contender: its URL, what is asked (`{id}` is a random number up to `most`), and the processes that work for it.
    Answers that are not 2xx fail the measurement."""

    name: str
    url: str
    path: str
    pids: Sequence[int]
    headers: Mapping[str, str] = field(default_factory=dict)
    most: int = 1
    method: str = "GET"
    body: str = ""
    rates: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    """99th percentiles of the rounds, in ms."""
    cpus: list[float] = field(default_factory=list)
    """CPU seconds of a thousand calls."""


def compare(folder: Path, callers: Sequence[Caller], rounds: int, seconds: int) -> list[Row]:
    """Each caller for some seconds in each round; the first is the limit. `seconds` of the rows are those of a thousand
    calls, so their ratio is that of the rates."""
    scripts = [_script(folder, number, caller) for number, caller in enumerate(callers)]
    for number, caller in enumerate(callers):
        _wrk(caller, scripts[number], 2)
        for told in (caller.rates, caller.slowest, caller.cpus):
            told.clear()
    for number in range(rounds):
        turn = number % len(callers)
        order = [*range(len(callers))]
        for at in [*order[turn:], *order[:turn]]:
            _wrk(callers[at], scripts[at], seconds)
    return [_row(callers[0], caller) for caller in callers]


def _wrk(caller: Caller, script: Path, seconds: int) -> None:
    before = cpu_seconds(caller.pids)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script, caller.url],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    used = cpu_seconds(caller.pids) - before
    calls = int(_found(r"(\d+) requests in", done))
    if wrong := re.search(r"Non-2xx or 3xx responses: (\d+)", done):
        raise RuntimeError(f"{caller.name}: {wrong[1]} of {calls} answers are refusals")
    if broken := re.search(r"Socket errors: (.*)", done):
        raise RuntimeError(f"{caller.name}: socket errors: {broken[1]}")
    if not calls:
        raise RuntimeError(f"{caller.name} answered nothing")
    caller.rates.append(float(_found(r"Requests/sec:\s+([\d.]+)", done)))
    value, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s|m)", done)[0]
    caller.slowest.append(float(value) * _UNITS[unit])
    caller.cpus.append(_CALLS * used / calls)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk said something else: {text}")
    return found[1]


def _row(limit: Caller, caller: Caller) -> Row:
    rate, slowest = statistics.median(caller.rates), statistics.median(caller.slowest)
    pairs = list(zip(limit.rates, caller.rates, strict=True))
    cpus = list(zip(limit.cpus, caller.cpus, strict=True))
    return Row(
        method=caller.name,
        seconds=_CALLS / rate,
        fastest=_CALLS / max(caller.rates),
        slowest=_CALLS / min(caller.rates),
        ratio=statistics.median(ours / theirs for theirs, ours in pairs),
        extra=_CALLS / rate - _CALLS / statistics.median(limit.rates),
        cpu=statistics.median(caller.cpus),
        cpu_ratio=statistics.median(theirs / max(ours, 1e-6) for theirs, ours in cpus),
        peak_mb=max((resident_mb(pid) for pid in caller.pids[:1]), default=0.0),
        value=rate,
        told=f"{rate:,.0f} requests/s ({min(caller.rates):,.0f}–{max(caller.rates):,.0f}), p99 {slowest:.1f} ms, "
        f"{1000 * statistics.median(caller.cpus):,.0f} µs CPU a call",
    )


def _script(folder: Path, number: int, caller: Caller) -> Path:
    path = folder / f"caller-{number}.lua"
    headers = ", ".join(f'["{name}"] = "{value}"' for name, value in caller.headers.items())
    told = {"headers": headers, "path": caller.path, "most": caller.most, "method": caller.method}
    path.write_text(_SCRIPT % {**told, "body": f"[==[{caller.body}]==]"})
    return path


@contextmanager
def served(command: Sequence[str], port: int, environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """A server of one's own, by its process id, from when it listens until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError(f"{command[0]} does not listen:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def python(module: str, *arguments: str) -> list[str]:
    """The command line of a module."""
    return [sys.executable, "-m", module, *arguments]
