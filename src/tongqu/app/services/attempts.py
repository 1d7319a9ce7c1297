"""One attempt at a job: a process of its own, told what to do, listened to, and stopped in order."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import IO, Any

from tongqu.core import errors
from tongqu.store.jobs.job import Job
from tongqu.store.scrub import known

STOP_SECONDS = 25.0
"""How long a process may take to commit and end before it is killed."""
_TAIL = 2000


class Attempt:
    """A job in its process. `heard` is called from another thread whenever there is news: the id of its run (`run`), or
    its end (`over`). When the process that made it dies, it stops in order by itself. Raises OSError where no process
    can be begun."""

    def __init__(self, job: Job, setting: Mapping[str, Any], heard: Callable[[], None]):
        self.job = job
        self.began = time.monotonic()
        self.why = ""
        """Why it was asked to stop: a wish, `leave`, `timeout` or `lost`."""
        self.run = ""
        self.behind: int | None = None
        """Messages that wait for it, where it follows its share of a log."""
        self.moved = False
        """Whether it has committed rows, as far as it told."""
        self.read: dict[str, int] = {}
        """The rows of each part of its work that were ever committed, as it told last."""
        self.document: dict[str, Any] = {}
        self.code = 1
        self.over = Event()
        self._stopped = 0.0
        self._heard = heard
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tongqu.app.job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._said, start_new_session=True,
            )  # fmt: skip
        except OSError:
            self._said.close()
            raise
        told = {**setting, "id": job.id, "kind": job.kind, "subject": job.subject, "spec": dict(job.spec)}
        self._line, lines = _ends(self._process)
        with suppress(BrokenPipeError):
            self._line.write(json.dumps(told).encode() + b"\n")
            self._line.flush()
        self._listening = Thread(target=self._listen, args=(lines,), name=f"job-{self._process.pid}", daemon=True)
        try:
            self._listening.start()
        except RuntimeError as error:  # no thread can be begun: as little as a process
            self._process.kill()
            self._process.wait()
            for one in (self._line, lines, self._said):
                one.close()
            raise OSError(errno.EAGAIN, "no thread can be begun") from error

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def stop(self, why: str) -> None:
        """Ask it to commit what is open and end; it is killed if it does not (`press`)."""
        if not self.why or why == "lost":
            self.why = why
        if not self._stopped:
            self._stopped = time.monotonic()
            self._process.send_signal(signal.SIGTERM)

    def press(self) -> float | None:
        """Kill it if it takes too long to stop; else the seconds that it still has, None if nobody asked it to."""
        timeout = self.job.timeout
        if not self._stopped and timeout and time.monotonic() - self.began >= timeout:
            self.stop("timeout")
        if not self._stopped:
            return max(timeout - (time.monotonic() - self.began), 0.0) if timeout else None
        left = STOP_SECONDS - (time.monotonic() - self._stopped)
        if left <= 0:
            self._process.kill()
            return 1.0
        return left

    def close(self) -> None:
        """Let go of the process that has ended; one that has not is killed."""
        if self._process.poll() is None:
            self._process.kill()
        self._listening.join()
        self._said.close()
        with suppress(BrokenPipeError):
            self._line.close()

    def _listen(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue
                if "end" in told:
                    self.document = told["end"]
                elif "behind" in told:
                    self.behind = int(told["behind"])
                elif "read" in told:
                    part, rows = told["read"]
                    self.moved = self.moved or rows > self.read.get(part, rows)
                    self.read[part] = rows
                elif told.get("run"):
                    self.run = str(told["run"])
                    self._heard()
        self.code = self._process.wait()
        if not self.document:
            self.document = {"status": "failed", "problems": [self._vanished()]}
        self.over.set()
        self._heard()

    def _vanished(self) -> dict[str, str]:
        """What is told of a process that ended without a word."""
        self._said.seek(0, 2)
        self._said.seek(max(self._said.tell() - _TAIL, 0))
        last = known.text(self._said.read().decode("utf-8", "replace").strip().rpartition("\n")[2])
        how = f"was killed by signal {-self.code}" if self.code < 0 else f"ended with {self.code}"
        message = f"the process {how}" + (f": {last}" if last else "")
        return {"path": self.job.subject, "code": "internal", "message": message, "hint": ""}


def _ends(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("the process was begun without pipes")
    return process.stdin, process.stdout


def passing(document: Mapping[str, Any], code: int, *, kept: bool = False) -> bool:
    """Whether a failure may pass by itself: the process vanished, or every error is of a kind that trying again may
    help, or a file was held by somebody else. What is `kept` running also waits for what it reads to be made."""
    if code in (0, 2, 3):
        return False
    codes = {str(one.get("code", "")) for one in document.get("problems", ()) if "level" not in one}
    known_to_pass = {*_retryable(errors.TongquError), errors.BusyError.code, "internal", "run.cancelled"}
    return codes <= (known_to_pass | {errors.NotFoundError.code} if kept else known_to_pass)


def _retryable(kind: type[errors.TongquError]) -> set[str]:
    own = {kind.code} if kind.retryable else set()
    return own.union(*(_retryable(child) for child in kind.__subclasses__()))
