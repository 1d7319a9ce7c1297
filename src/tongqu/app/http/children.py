"""Runs that the management API started: each a process of its own, watched until it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import BusyError, NotFoundError

if TYPE_CHECKING:
    from tongqu.app.http.operation import Asked

MOST = 8
"""Runs that are started from here at the same time."""
_BEGIN_SECONDS = 30.0
_END_SECONDS = 20.0


class Child:
    """One run in its process; `ended` is set when it is over, `document` is what it printed then."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process = process
        self.ended = Event()
        self.document: dict[str, Any] = {}
        self.watching = Thread(target=self._watch, name=f"run-{process.pid}", daemon=True)
        self.watching.start()

    def _watch(self) -> None:
        out, _ = self.process.communicate()
        try:
            self.document = json.loads(out)
        except ValueError:
            self.document = {"ok": False, "problems": []}
        self.ended.set()


class Children:
    """The runs of one serving process. They are asked to stop when it leaves: the chunk at hand is committed, and the
    next start goes on there."""

    def __init__(self) -> None:
        self._alive: list[Child] = []
        self._lock = Lock()
        self.leaving = Event()
        """Set when the process takes no more calls."""

    def start(self, asked: Asked, pipelines: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
        """Start pipelines; what is told once the run has an id, or has ended: `run pid status`. Raises BusyError."""
        wire = asked.wire
        command = [sys.executable, "-m", "tongqu", "run", "--project", str(wire.folder), "--json", *options]
        command += [*(["--env", wire.env] if wire.env else []), "--", *pipelines]
        environ = {**os.environ, "TONGQU_HOME": str(wire.home.path), "TONGQU_ACTOR": asked.person.actor}
        with self._lock:
            self._alive = [child for child in self._alive if not child.ended.is_set()]
            if len(self._alive) >= MOST:
                raise BusyError(f"{MOST} runs are under way already", hint="wait until one of them has ended")
            process = subprocess.Popen(  # noqa: S603  # our own command; the names are pipelines of the project
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ,
                start_new_session=True,
            )  # fmt: skip
            child = Child(process)
            self._alive.append(child)
        run = _begun(child, lambda: _of_process(asked, process.pid))
        status = "running" if not child.ended.is_set() else str(child.document.get("status", "failed"))
        told = {"run": run or str(child.document.get("run", "")), "pid": process.pid, "status": status}
        problems = child.document.get("problems")
        return {**told, "problems": problems} if problems else told

    def cancel(self, run: Mapping[str, Any]) -> None:
        """Ask a run that was started here to stop in order; raises NotFoundError."""
        with self._lock:
            found = [one for one in self._alive if one.process.pid == run["pid"] and not one.ended.is_set()]
        if not found or run["status"] != "running":
            raise NotFoundError(
                f"the run {run['run']!r} was not started from here, or is over", hint="stop it where it was started"
            )
        found[0].process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Ask all runs to stop, and wait for them a while."""
        with self._lock:
            alive = [child for child in self._alive if not child.ended.is_set()]
        for child in alive:
            child.process.send_signal(signal.SIGTERM)
        for child in alive:
            if not child.ended.wait(_END_SECONDS):
                child.process.kill()
        for child in alive:
            child.watching.join()


def _begun(child: Child, look: Callable[[], str]) -> str:
    """The id of the run, as soon as it stands in the ledger."""
    waited = 0.0
    while not child.ended.wait(0.1):
        waited += 0.1
        if (run := look()) or waited > _BEGIN_SECONDS:
            return run
    return look()


def _of_process(asked: Asked, pid: int) -> str:
    runs = asked.wire.past_runs()
    if runs is None:
        return ""
    try:
        return next((str(run["run"]) for run in runs.list(20) if run["pid"] == pid), "")
    finally:
        runs.close()
