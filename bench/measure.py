"""Times whole processes against each other, interleaved round by round, with memory and CPU of all who took part."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
"""With it every start would compile every module again; an installation has them compiled."""


@dataclass
class Method:
    """One contender: a shell command, what to do before it (not timed), and a check that must give `expect`."""

    name: str
    command: str
    before: Callable[[], None] | None = None
    check: Callable[[], str] | None = None
    expect: str = ""
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Row:
    """A method's medians. `ratio` is limit time / own time, `extra` own time - limit time, round by round; `cpu` is
    the CPU seconds of the command and of the servers, `cpu_ratio` the limit's over its own. `value` is what a scenario
    of its own kind measures, `told` what else is to be said."""

    method: str
    seconds: float
    fastest: float
    slowest: float
    ratio: float
    extra: float
    cpu: float
    cpu_ratio: float
    peak_mb: float
    value: float = 0.0
    told: str = ""


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*"))
    except OSError:  # it has just ended
        return []
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def resident_mb(pid: int) -> float:
    """Memory of a process tree, in MiB."""
    total = 0
    for member in tree(pid):
        try:
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            continue
    return total / 2**20


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU that these servers have used, with their living and their ended children."""
    total = 0
    for pid in pids:
        for member in tree(pid):
            try:
                fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            times = fields[11:15] if member == pid else fields[11:13]
            total += sum(map(int, times))
    return total / _TICK


class Stand:
    """Where methods run: their environment, the servers that work for them, and the file for what they print."""

    def __init__(self, environment: Mapping[str, str], servers: Sequence[int], log: Path):
        inherited = {name: value for name, value in os.environ.items() if name != _UNCOMPILED}
        self._environment = {**inherited, **environment}
        self._servers = servers
        self._log = log

    def once(self, method: Method) -> tuple[float, float]:
        """Run a method once: seconds and CPU seconds; raises RuntimeError if it fails or its check does."""
        if method.before:
            method.before()
        done, peak = threading.Event(), [0.0]
        with self._log.open("ab") as out:
            served = cpu_seconds(self._servers)
            used = _children_cpu()
            begun = time.perf_counter()
            process = subprocess.Popen(
                ["bash", "-c", "set -o pipefail; " + method.command], stdout=out, stderr=out, env=self._environment
            )
            watcher = threading.Thread(target=_watch, args=(process.pid, done, peak))
            watcher.start()
            status = process.wait()
            wall = time.perf_counter() - begun
            done.set()
            watcher.join()
        cpu = _children_cpu() - used + cpu_seconds(self._servers) - served
        if status:
            raise RuntimeError(f"{method.name} ended with {status}; see {self._log}:\n{_tail(self._log)}")
        if method.check and (got := method.check()) != method.expect:
            raise RuntimeError(f"{method.name}: check gave {got!r}, not {method.expect!r}")
        method.peak_mb = max(method.peak_mb, peak[0])
        return wall, cpu

    def compare(self, methods: Sequence[Method], rounds: int) -> list[Row]:
        """Interleave the methods; the first is the limit the others refer to. One round before the others does not
        count (files are compiled, caches filled), unless only one is asked for."""
        for method in methods if rounds > 1 else ():
            self.once(method)
        for number in range(rounds):
            turn = number % len(methods)
            for method in [*methods[turn:], *methods[:turn]]:
                wall, cpu = self.once(method)
                method.walls.append(wall)
                method.cpus.append(cpu)
        return [_row(methods[0], method) for method in methods]


def _row(limit: Method, method: Method) -> Row:
    walls = list(zip(limit.walls, method.walls, strict=True))
    cpus = list(zip(limit.cpus, method.cpus, strict=True))
    return Row(
        method=method.name,
        seconds=statistics.median(method.walls),
        fastest=min(method.walls),
        slowest=max(method.walls),
        ratio=statistics.median(theirs / ours for theirs, ours in walls),
        extra=statistics.median(ours - theirs for theirs, ours in walls),
        cpu=statistics.median(method.cpus),
        cpu_ratio=statistics.median(theirs / max(ours, 0.01) for theirs, ours in cpus),
        peak_mb=method.peak_mb,
    )


def _watch(pid: int, done: threading.Event, peak: list[float]) -> None:
    while not done.wait(0.02):
        peak[0] = max(peak[0], resident_mb(pid))


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
