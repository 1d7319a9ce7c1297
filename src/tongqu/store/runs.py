"""Remembers what ran: who started it, how it went, its plan, counts and log lines."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import NotFoundError
from tongqu.kit.living import born, lives
from tongqu.store import lineage
from tongqu.store.home import Home
from tongqu.store.migrations import RUNS
from tongqu.store.writing import opened

KEEP_DAYS = 180
_FLUSH_SECONDS = 0.5
_LEVELS = ("debug", "info", "warning", "error")
_COLUMNS = (
    "run, kind, command, status, started, finished, host, pid, pid_started, attempts, lane, read, written, "
    "quarantined, sinks, project, version, hash"
)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def instant(at: datetime) -> str:
    """RFC 3339 with milliseconds and `Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Started:
    """What is known when a run starts. `command` and `sinks` hold no secrets; `sinks` are URLs or connection names."""

    run: str
    kind: str
    command: str
    sinks: Sequence[str] = field(default_factory=tuple)
    project: str = ""
    version: int = 0
    """The applied version that the project's files were, 0 for none."""
    hash: str = ""
    """A digest of the project's files."""


class Runs:
    """The ledger of runs of one home, in one SQLite file; safe for several threads and processes.

    Log lines are written in batches, at most half a second late, and on `finish`. Raises sqlite3.Error or OSError
    where the file cannot be used; callers that only note things down catch them.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], datetime] = now,
        keep_days: int = KEEP_DAYS,
        began: Callable[[str], None] | None = None,
    ):
        self._clock = clock
        self._began = began
        self._lock = RLock()
        self._waiting: list[tuple[str, str, str, str]] = []
        self._flushed = 0.0
        self._database = opened(path, RUNS, "foreign_keys = ON")
        self._database.row_factory = sqlite3.Row
        self._purge(keep_days)

    @classmethod
    def open(cls, home: Home, began: Callable[[str], None] | None = None) -> Runs:
        """The runs of a home, which is made if it is not there; runs older than 180 days are dropped. `began` is told
        the id of each run that begins."""
        home.ensure()
        return cls(home.runs, began=began)

    def warm_up(self) -> None:
        """Write once, so that the log file exists on disk: the first write of a connection waits for the disk, the
        following do not."""
        with self._lock:
            self._database.execute(f"PRAGMA user_version = {len(RUNS)}")

    def begin(self, started: Started) -> None:
        """Note that a run begins or goes on (the same id again keeps its start, plan and log)."""
        pid = os.getpid()
        values = (
            started.run,
            started.kind,
            started.command,
            instant(self._clock()),
            socket.gethostname(),
            pid,
            born(pid),
            json.dumps(list(started.sinks)),
            started.project,
            started.version,
            started.hash,
        )
        with self._lock:
            self._database.execute(
                "INSERT INTO runs (run, kind, command, status, started, host, pid, pid_started, sinks, project,"
                " version, hash) VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (run) DO UPDATE SET status = 'running',"
                " finished = NULL, command = excluded.command, host = excluded.host, pid = excluded.pid,"
                " pid_started = excluded.pid_started, sinks = excluded.sinks, version = excluded.version,"
                " hash = excluded.hash, attempts = attempts + 1",
                values,
            )
        if self._began:
            self._began(started.run)

    def plan(self, run: str, stream: str, plan: Mapping[str, Any]) -> None:
        """Keep how a stream travels: lane, reason, mode, write, splits, steps."""
        with self._lock:
            self._database.execute(
                "INSERT INTO plans VALUES (?, ?, ?) ON CONFLICT (run, stream) DO UPDATE SET plan = excluded.plan",
                (run, stream, json.dumps(plan, ensure_ascii=False, default=str)),
            )

    def log(self, run: str, level: str, line: Mapping[str, Any]) -> None:
        """Add a log line; it reaches the file with the next batch."""
        text = json.dumps(line, ensure_ascii=False, default=str)
        with self._lock:
            self._waiting.append((run, instant(self._clock()), level, text))
            if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write the log lines that are waiting."""
        with self._lock:
            lines, self._waiting = self._waiting, []
            self._flushed = time.monotonic()
            if lines:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("INSERT INTO logs (run, at, level, line) VALUES (?, ?, ?, ?)", lines)
                self._database.execute("COMMIT")

    def progress(self, run: str, streams: Sequence[Mapping[str, Any]]) -> None:
        """Note the numbers of a run that goes on; each stream has `name read written quarantined` and what else is
        known of it by now. Nothing changes once another process goes on with the run."""
        totals = [sum(int(stream[name]) for stream in streams) for name in ("read", "written", "quarantined")]
        text = json.dumps({"streams": list(streams)}, ensure_ascii=False, default=str)
        with self._lock:
            self._database.execute(
                "UPDATE runs SET read = ?, written = ?, quarantined = ?, document = ? WHERE run = ? AND pid = ?",
                (*totals, text, run, os.getpid()),
            )

    def finish(self, run: str, document: Mapping[str, Any]) -> None:
        """Note the end of a run with its document; an attempt that another process has taken over changes nothing."""
        streams = document.get("streams", [])
        totals = [sum(int(stream.get(name, 0)) for stream in streams) for name in ("read", "written", "quarantined")]
        with self._lock, self._lastingly():
            self.flush()
            self._database.execute(
                "UPDATE runs SET status = ?, finished = ?, attempts = max(attempts, ?), lane = ?, read = ?,"
                " written = ?, quarantined = ?, document = ? WHERE run = ? AND pid = ?",
                (
                    document.get("status", "failed"),
                    instant(self._clock()),
                    int(document.get("attempts", 1)),
                    document.get("lane", ""),
                    *totals,
                    json.dumps(document, ensure_ascii=False, default=str),
                    run,
                    os.getpid(),
                ),
            )

    @contextmanager
    def _lastingly(self) -> Iterator[None]:
        """What is written inside, and all that was before it, is there after a loss of power."""
        self._database.execute("PRAGMA synchronous = EXTRA")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous = NORMAL")

    def flow(self, id: str, flow: Mapping[str, Any]) -> None:
        """Keep how columns went from sources to a target, for lineage; it outlives the run."""
        with self._lock:
            lineage.note(self._database, id, flow, instant(self._clock()))

    def flows(self) -> Sequence[dict[str, Any]]:
        """All flows that were kept, oldest first."""
        with self._lock:
            return lineage.read(self._database)

    def flow_runs(self, id: str) -> Sequence[dict[str, Any]]:
        """The runs that took a flow, newest first: `run version at`."""
        with self._lock:
            return lineage.runs(self._database, id)

    def list(self, limit: int = 50, status: str = "") -> list[dict[str, Any]]:
        """The newest runs first. A run whose process is gone without an end is `interrupted`."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM runs ORDER BY started DESC, rowid DESC LIMIT ?", (limit if not status else -1,)
            ).fetchall()
        found = [_summary(row) for row in rows]
        return [run for run in found if not status or run["status"] == status][:limit]

    def streams(self, name: str, last: int) -> Sequence[dict[str, Any]]:
        """The newest streams of that name in runs that succeeded or need attention, as their documents show them."""
        with self._lock:
            rows = self._database.execute(
                "SELECT json_extract(document, '$.streams') FROM runs WHERE status IN ('succeeded', 'attention')"
                " AND instr(document, ?) > 0 ORDER BY started DESC, rowid DESC LIMIT ?",
                (json.dumps(name, ensure_ascii=False), last),
            ).fetchall()
        found = [stream for (text,) in rows for stream in json.loads(text or "[]")]
        return [stream for stream in found if stream.get("name") == name][:last]

    def show(self, run: str) -> dict[str, Any]:
        """One run with its document and plan; `run` may be the beginning of an id if only one run has it.

        Raises NotFoundError.
        """
        id = self._id(run)
        with self._lock:
            row = self._database.execute(f"SELECT {_COLUMNS}, document FROM runs WHERE run = ?", (id,)).fetchone()
            plans = self._database.execute("SELECT stream, plan FROM plans WHERE run = ? ORDER BY stream", (id,))
            plan = [{"stream": stream, **json.loads(text)} for stream, text in plans]
        document: dict[str, Any] = json.loads(row["document"] or "{}")
        return {**document, **_summary(row), "plan": plan, "streams": document.get("streams", [])}

    def logs(self, run: str, *, grep: str = "", level: str = "", since: str = "") -> dict[str, Any]:
        """The log lines of one run, oldest first; raises NotFoundError. Only those that hold the text `grep` (whatever
        its case), have at least the level (`info`, `warning`, `error`), and were written since that instant."""
        id = self._id(run)
        told = ", ".join(f"'{one}'" for one in _LEVELS[_LEVELS.index(level) if level in _LEVELS else 0 :])
        with self._lock:
            rows = self._database.execute(
                f"SELECT at, level, line FROM logs WHERE run = ? AND at >= ? AND level IN ({told})"
                " AND (? = '' OR instr(lower(line), lower(?)) > 0) ORDER BY id",
                (id, since, grep, grep),
            )
            lines = [{"at": at, "level": level, **json.loads(line)} for at, level, line in rows]
        return {"run": id, "lines": lines}

    def close(self) -> None:
        """Write what is waiting and close the file; may be called twice."""
        with self._lock, suppress(sqlite3.ProgrammingError):
            self.flush()
            self._database.close()

    def _id(self, run: str) -> str:
        with self._lock:
            rows = self._database.execute(
                "SELECT run FROM runs WHERE run = ? OR substr(run, 1, length(?)) = ? ORDER BY run = ? DESC LIMIT 2",
                (run, run, run, run),
            ).fetchall()
        if run and rows and (rows[0]["run"] == run or len(rows) == 1):
            return str(rows[0]["run"])
        several = run and len(rows) > 1
        raise NotFoundError(
            f"several runs begin with {run!r}" if several else f"there is no run {run!r}",
            path=run,
            hint="tongqu runs list shows the runs of this project",
            params={"run": run},
        )

    def _purge(self, keep_days: int) -> None:
        before = instant(self._clock() - timedelta(days=keep_days))
        if self._database.execute("SELECT 1 FROM runs WHERE started < ? LIMIT 1", (before,)).fetchone():
            self._database.execute("DELETE FROM runs WHERE started < ? AND status <> 'running'", (before,))


def _summary(row: sqlite3.Row) -> dict[str, Any]:
    run = {key: row[key] for key in row.keys() if key not in {"pid_started", "document"}}  # noqa: SIM118  # a Row iterates values
    run["sinks"] = json.loads(row["sinks"])
    here = row["host"] == socket.gethostname()
    if row["status"] == "running" and here and not lives(row["pid"], row["pid_started"]):
        run["status"] = "interrupted"
    return run
