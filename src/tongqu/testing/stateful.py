"""Follows tables of a `log_file` through steps that keep state, in this process or in one that dies at a crash point.

`python -m tongqu.testing.stateful ASKED` reads what is asked as JSON, follows until it has caught up and prints the run
document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.core.data import Batch, Dataset, Deletes, Mode, Read, Split, WriteMode
from tongqu.core.events import Emit, silent
from tongqu.core.operator import parse_step
from tongqu.core.plan import Plan, plan
from tongqu.engine.graph import Graph
from tongqu.engine.job import Job, Limits, Stream, Surroundings
from tongqu.engine.report import Report
from tongqu.engine.run import run
from tongqu.engine.state.source import Feed, StateSource
from tongqu.testing.following import around, opened
from tongqu.testing.log_file import LogSource


@dataclass(frozen=True)
class Stateful:
    """Tables of a log file (as sources of their names), the steps over them, the sink's URL and where state lies."""

    log: str
    target: str
    folder: str
    tables: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    messages: Sequence[str] = ()
    """Those of the tables whose log is one of plain messages."""
    write: str = "upsert"
    limit_rows: int = 1_000_000
    sync: str = "state-sync"
    """The log is kept under its name."""

    def plan(self) -> Plan:
        """The steps as a plan."""
        steps = [parse_step(step, f"steps[{n}]") for n, step in enumerate(self.steps)]
        return plan(list(self.tables), steps, {"sink": None})

    def follow(
        self,
        *,
        until_caught_up: bool = True,
        restart: bool = False,
        surroundings: Surroundings | None = None,
        emit: Emit = silent,
        faults: Sequence[tuple[int, Exception]] = (),
        check: Callable[[StateSource], None] = lambda source: None,
    ) -> Report:
        """One run, into `result` of the target."""
        with ExitStack() as ends:
            sources = {name: LogSource(Path(self.log), changes=name not in self.messages) for name in self.tables}
            shared = LogSource(Path(self.log), faults=faults)
            feeds = {}
            for name in self.tables:
                ends.callback(sources[name].close)
                told = sources[name] if name in self.messages else shared
                (dataset,) = told.datasets([name])
                feeds[name] = Feed(told, dataset, name not in self.messages)
            ends.callback(shared.close)
            sink = opened(self.target)
            ends.callback(sink.close)
            source = StateSource(
                self.plan(), feeds, Path(self.folder), "result", limit_rows=self.limit_rows, recipe=_text(self.steps)
            )
            ends.callback(source.close)
            check(source)
            stream = Stream(
                "result", source, source.dataset, sink, "result", Mode.CDC, WriteMode(self.write), self.sync,
                key=source.dataset.key, deletes=Deletes.HARD if self.write == "upsert" else Deletes.IGNORE,
                recipe=_text(self.steps),
            )  # fmt: skip
            job = Job([stream], restart=restart, until_caught_up=until_caught_up, limits=Limits())
            return run(job, emit, surroundings or around())

    def batch(self) -> list[dict[str, Any]]:
        """The result of the same steps over all rows as they are now."""
        with ExitStack() as ends:
            source = LogSource(Path(self.log))
            ends.callback(source.close)
            datasets: dict[str, Dataset] = {name: source.datasets([name])[0] for name in self.tables}

            def opener(dataset: Dataset) -> pa.RecordBatchReader:
                batches: Sequence[Batch] = list(source.read(Read(dataset, Split("0", dataset.name))))
                return pa.RecordBatchReader.from_batches(dataset.schema, [one.rows for one in batches])

            graph = Graph(self.plan(), datasets)
            openers = {name: (lambda d=dataset: opener(d)) for name, dataset in datasets.items()}
            with graph.open(openers) as execution:
                return [row for rows in execution.read("sink") for row in rows.to_pylist()]

    def crash(self, point: str) -> subprocess.CompletedProcess[str]:
        """Follow in a process of its own, which dies at the point if one is given."""
        environment = {**os.environ, "TONGQU_CRASH_AT": point}
        command = [sys.executable, "-m", "tongqu.testing.stateful", json.dumps(asdict(self))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def _text(steps: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(list(steps), sort_keys=True)


if __name__ == "__main__":
    print(json.dumps(Stateful(**json.loads(sys.argv[1])).follow().to_json()))  # noqa: T201  # the document
