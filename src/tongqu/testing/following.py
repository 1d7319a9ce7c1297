"""Follows a `log_file` into a sink by URL, in this process or in one that tests let die at a crash point.

`python -m tongqu.testing.following FILE URL` follows until it has caught up and prints the run document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

from tongqu.core import registry
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Dataset, Deletes, Mode, WriteMode
from tongqu.core.errors import TongquError
from tongqu.core.events import Emit, silent
from tongqu.core.operator import parse_step
from tongqu.core.schema_changes import SchemaChanges
from tongqu.engine.chain import Chain
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits, Stream, Surroundings
from tongqu.engine.report import Report
from tongqu.engine.run import run
from tongqu.testing.log_file import LogSource

_IDS = count(1)
WANTED = Wanted(mode=Mode.CDC, deletes=Deletes.HARD)


def opened(url: str) -> Sink:
    """The sink of a URL."""
    found = registry.by_url(url)
    assert found.sink is not None
    return found.sink(found.from_url(url))


def around(stop: Event | None = None, wait: Callable[[float], bool] | None = None) -> Surroundings:
    """A real clock; `wait` stands for every pause."""
    stop = stop or Event()
    return Surroundings(
        now=lambda: datetime.now(UTC),
        new_id=lambda: f"run-{os.getpid()}-{next(_IDS)}",
        stop=stop,
        wait=wait or stop.wait,
    )


def follow(
    path: Path | Source,
    sink: Sink | str,
    wanted: Wanted = WANTED,
    *,
    steps: Sequence[dict[str, Any]] = (),
    until_caught_up: bool = True,
    restart: bool = False,
    reload: Sequence[str] = (),
    changes: bool = True,
    faults: Sequence[tuple[int, Exception]] = (),
    surroundings: Surroundings | None = None,
    emit: Emit = silent,
    limits: Limits | None = None,
) -> Report:
    """One run: all tables of the file or source, or those that are wanted, into the sink."""
    with ExitStack() as open_ends:
        source = path if isinstance(path, Source) else LogSource(path, changes=changes, faults=faults)
        open_ends.callback(source.close)
        if isinstance(sink, str):
            sink = opened(sink)
            open_ends.callback(sink.close)
        absent: dict[str, TongquError] = {}
        streams = plan_sync(source, sink, source_id="log", sink_id="sink", wanted=wanted, absent=absent)
        if steps:
            streams = [_stepped(stream, steps, open_ends) for stream in streams]
        limits = limits or Limits()
        job = Job(streams, restart, limits, until_caught_up=until_caught_up, absent=absent, reload=reload)
        return run(job, emit, surroundings or around())


def _stepped(stream: Stream, steps: Sequence[dict[str, Any]], open_ends: ExitStack) -> Stream:
    dataset: Dataset = stream.source_dataset
    chain = Chain(dataset, [parse_step(step, f"steps[{number}]") for number, step in enumerate(steps)])
    open_ends.callback(chain.close)
    return replace(stream, chain=chain)


def crash(path: Path, url: str, point: str = "") -> subprocess.CompletedProcess[str]:
    """Follow in a process of its own, which dies at the point if one is given."""
    environment = {**os.environ, "TONGQU_CRASH_AT": point}
    command = [sys.executable, "-m", "tongqu.testing.following", str(path), url]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def wanted(write: str = "", deletes: str = "hard", changes: str = "evolve", tables: Sequence[str] = ()) -> Wanted:
    """What is asked of a sync, by its words."""
    return Wanted(
        mode=Mode.CDC,
        write=WriteMode(write) if write else None,
        deletes=Deletes(deletes),
        schema_changes=SchemaChanges(changes),
        tables=tuple(tables),
    )


if __name__ == "__main__":
    print(json.dumps(follow(Path(sys.argv[1]), sys.argv[2]).to_json()))  # noqa: T201  # the document
