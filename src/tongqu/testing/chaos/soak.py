"""A soak: `tongqu serve` follows a database for hours while processes are killed; memory, files, threads stay flat."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from threading import Event, Thread

from tongqu.app.demo.live.erp import ENVIRON, SCHEMA, PostgresErp, Row
from tongqu.app.demo.live.stage import build, changed
from tongqu.testing.chaos.plot import svg
from tongqu.testing.command_line import query
from tongqu.testing.psql import execute
from tongqu.testing.services import start_postgres

SAMPLE_SECONDS = 1.0
CHANGE_SECONDS = 0.05
CALL_SECONDS = 0.1
KILL_SECONDS = (10.0, 30.0)
PATIENCE = 600.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """What the gateway's process held at a moment: `seconds` since the beginning, resident megabytes, open files,
    threads, and the megabytes of the whole tree of processes."""

    seconds: float
    rss_mb: float
    files: int
    threads: int
    tree_mb: float


MOST_GROWTH = {"rss_mb": (0.10, 20.0), "files": (0.05, 5.0), "threads": (0.05, 3.0)}
"""By how much the median of the last quarter may be above that of the second: a share of it, or so many."""


def soak(folder: Path, seconds: float, seed: int, say: Say) -> bool:
    """Soak for so long; writes `soak.csv` and `soak.svg` into the folder. Whether everything stayed flat, and all that
    was committed arrived."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        server = opened.enter_context(start_postgres())
        url = server.database()
        erp = PostgresErp(url)
        build(folder, erp)
        execute(
            url, f"INSERT INTO {SCHEMA}.work_order SELECT 'B' || i, 'bulk', i, 'done' FROM generate_series(1, 2000) i"
        )
        address, process = opened.enter_context(_serving(folder, url))
        stop = Event()
        opened.callback(stop.set)
        counts = {"changes": 0, "calls": 0, "kills": 0}
        works = [
            Thread(target=_change, args=(erp, seed, stop, counts)),
            Thread(target=_call, args=(address, stop, counts)),
            Thread(target=_kill, args=(process.pid, url, seed, stop, counts)),
        ]
        for work in works:
            work.start()
        samples = _sampled(process.pid, seconds)
        stop.set()
        for work in works:
            work.join()
        even = _arrived(erp, folder, time.monotonic() + PATIENCE)
        alive = process.poll() is None
    growth = {name: grown(samples, name) for name in MOST_GROWTH}
    flat = [name for name, found in growth.items() if found <= allowed(samples, name)]
    _written(folder, samples)
    say(f"{len(samples)} samples; {counts}; growth {({name: round(by, 1) for name, by in growth.items()})}; "
        f"flat: {', '.join(flat)}; all arrived: {even}; served to the end: {alive}")  # fmt: skip
    return even and alive and len(flat) == len(growth)


def grown(samples: Sequence[Sample], name: str) -> float:
    """The median of the last quarter above that of the second; the first quarter is for warming up."""
    quarter = max(len(samples) // 4, 1)
    values = [float(getattr(sample, name)) for sample in samples]
    return _median(values[-quarter:]) - _median(values[quarter : 2 * quarter] or values)


def allowed(samples: Sequence[Sample], name: str) -> float:
    """How much it may grow."""
    share, many = MOST_GROWTH[name]
    return max(share * _median([float(getattr(sample, name)) for sample in samples]), many)


@contextmanager
def _serving(folder: Path, url: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`tongqu serve` with its hands; gives its address."""
    environ = {**os.environ, ENVIRON: url, "TONGQU_HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tongqu", "serve", "--files", "--port", "0", "--project", str(folder)],
            env=environ, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        line = next((line for line in process.stdout if "http://" in line), "")
        yield "http://" + line.split("http://")[1].split()[0], process
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.communicate()


def _change(erp: PostgresErp, seed: int, stop: Event, counts: dict[str, int]) -> None:
    chance = random.Random(seed)  # noqa: S311  # made-up changes
    while not stop.wait(CHANGE_SECONDS):
        changed(erp, chance)
        counts["changes"] += 1


def _call(address: str, stop: Event, counts: dict[str, int]) -> None:
    while not stop.wait(CALL_SECONDS):
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/api/v1/orders?limit=20", timeout=30).read()  # noqa: S310  # our own
            counts["calls"] += 1


def _kill(pid: int, url: str, seed: int, stop: Event, counts: dict[str, int]) -> None:
    """Now and then a process of the gateway dies, or all connections of the database."""
    chance = random.Random(seed)  # noqa: S311  # a seeded nemesis
    while not stop.wait(chance.uniform(*KILL_SECONDS)):
        below = _children(pid)
        if below and chance.random() < 0.7:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(below), signal.SIGKILL)
        else:
            execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                         "AND backend_type = 'walsender'")  # fmt: skip
        counts["kills"] += 1


def _sampled(pid: int, seconds: float) -> list[Sample]:
    began, pause, samples = time.monotonic(), Event(), list[Sample]()
    while (now := time.monotonic() - began) < seconds:
        found = _sample(pid, now)
        if found is None:
            break
        samples.append(found)
        pause.wait(SAMPLE_SECONDS)
    return samples


def _sample(pid: int, now: float) -> Sample | None:
    rss, threads = _status(pid)
    if not rss:
        return None
    try:
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    tree = rss + sum(_status(child)[0] for child in _children(pid))
    return Sample(round(now, 1), round(rss, 1), files, threads, round(tree, 1))


def _status(pid: int) -> tuple[float, int]:
    """Resident megabytes and threads; zeros of a process that is gone."""
    with suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
        return int(lines.get("VmRSS", "0").split()[0]) / 1024, int(lines.get("Threads", "0"))
    return 0.0, 0


def _children(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *_children(int(child))]
    return found


def _arrived(erp: PostgresErp, folder: Path, end: float) -> bool:
    """Wait until the MES has what the ERP has."""
    rows, pause = erp.rows(), Event()
    while time.monotonic() < end:
        found = query(
            folder / "data" / "mes.db", "SELECT order_no, product, quantity, state, changed_at FROM work_order"
        )
        if {Row(*row) for row in found} == set(rows):
            return True
        pause.wait(0.5)
    return False


def _written(folder: Path, samples: Sequence[Sample]) -> None:
    with (folder / "soak.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Sample)])
        writer.writerows(astuple(sample) for sample in samples)
    times = [sample.seconds for sample in samples]
    lines = {name: [float(getattr(sample, name)) for sample in samples] for name in ("rss_mb", "files", "threads")}
    (folder / "soak.svg").write_text(svg(times, lines), encoding="utf-8")


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
