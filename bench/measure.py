"""Times whole processes against each other, interleaved round by round, with the memory of the process tree."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = 4096


@dataclass
class Method:
    """One contender: a shell command, what to do before it (not timed), and a check that must give `expect`."""

    name: str
    command: str
    before: Callable[[], None] | None = None
    check: Callable[[], str] | None = None
    expect: str = ""
    walls: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def _watch(pid: int, done: threading.Event, peak: list[float]) -> None:
    while not done.wait(0.02):
        total = 0
        for member in tree(pid):
            try:
                total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * _PAGE
            except (OSError, IndexError, ValueError):
                continue
        peak[0] = max(peak[0], total / 2**20)


def once(method: Method, log: Path) -> float:
    """Run a method once; raises RuntimeError if it fails or its check does."""
    if method.before:
        method.before()
    done, peak = threading.Event(), [0.0]
    with log.open("ab") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(["bash", "-c", "set -o pipefail; " + method.command], stdout=out, stderr=out)
        watcher = threading.Thread(target=_watch, args=(process.pid, done, peak))
        watcher.start()
        status = process.wait()
        wall = time.perf_counter() - begun
        done.set()
        watcher.join()
    if status:
        raise RuntimeError(f"{method.name} ended with {status}; see {log}")
    if method.check and (got := method.check()) != method.expect:
        raise RuntimeError(f"{method.name}: check gave {got!r}, not {method.expect!r}")
    method.peak_mb = max(method.peak_mb, peak[0])
    return wall


def compare(methods: Sequence[Method], rounds: int, log: Path) -> list[dict[str, object]]:
    """Interleave the methods; the first is the limit that the ratios refer to. Ratios are medians of rounds."""
    for number in range(rounds):
        turn = number % len(methods)
        for method in [*methods[turn:], *methods[:turn]]:
            method.walls.append(once(method, log))
    limit = methods[0]
    rows = []
    for method in methods:
        ratios = [a / b for a, b in zip(limit.walls, method.walls, strict=True)]
        rows.append(
            {
                "method": method.name,
                "seconds": round(statistics.median(method.walls), 2),
                "min": round(min(method.walls), 2),
                "max": round(max(method.walls), 2),
                "ratio": round(statistics.median(ratios), 2),
                "peak_mb": round(method.peak_mb),
                "rounds": rounds,
            }
        )
    return rows
