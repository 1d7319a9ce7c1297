"""`run --watch`: runs again whenever a file of the project has changed, each time in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryFile
from threading import Event
from types import FrameType
from typing import IO

from tongqu.app import early
from tongqu.app.cli.call import Call, say, tell
from tongqu.app.messages import t
from tongqu.core.errors import InvalidSettingsError, TongquError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EVERY = 0.3
"""Seconds between two looks; files that changed must look the same twice, since editors write several."""
_CLEAR = "\x1b[2J\x1b[3J\x1b[H"
Looks = Mapping[str, tuple[int, int]]


def watch(call: Call, pipelines: Sequence[str]) -> int:
    """Run, wait until a file of the project changes, and run again, until SIGINT or SIGTERM: while it waits the exit
    code is 0; in a run that is stopped in order, the run's own. A change while a pipeline runs that does not end by
    itself stops it first. Files that are wrong are told like any other problem, and waited for. With `--json` the last
    document is printed."""
    words = [word for word in sys.argv[1:] if word != "--watch"]
    if alone := [word for word in words if word.split("=")[0] in ("--queue", "--record", "--replay")]:
        raise InvalidSettingsError(
            f"--watch and {alone[0]} exclude each other", path="--watch", hint="leave one of them out"
        )
    runs, files = _Runs(call.json, words), _Files(call)
    with TemporaryFile("w+b") as told, runs.forwarding():
        while True:
            endless, before = files.look(pipelines), files.now()
            if sys.stdout.isatty() and not call.json:
                say(_CLEAR)
            told.truncate(0)
            code = runs.once(told, partial(files.settled, before, runs.over) if endless else bool)
            if not runs.over.is_set():
                tell(t("run.watching", count=len(before)))
                while not runs.over.is_set() and not files.settled(before, runs.over):
                    runs.over.wait(_EVERY)
                code = 0
            if runs.over.is_set():
                if call.json:
                    told.seek(0)
                    say(told.read().decode())
                return code
            tell(t("run.changed", files=", ".join(files.differing(before))))


class _Files:
    """The files of a project: those that say what runs, in its folder, and those that pipelines name."""

    def __init__(self, call: Call):
        self._call = call
        self._named: Sequence[str] = ()

    def look(self, pipelines: Sequence[str]) -> bool:
        """Read the project for the files it names; whether one of the pipelines does not end by itself."""
        from tongqu.app.services.versioning import FILES, contents

        try:
            wire = self._call.wire()
            project = wire.project
        except TongquError:  # the run tells
            return False
        self._named = tuple(contents(project, wire.scrubber)[0].get(FILES, {}))
        entries = [project.pipelines[name] for name in pipelines if name in project.pipelines]
        return any(entry.endless for entry in entries)

    def now(self) -> Looks:
        """Each file's time of change and size; what is not there is left out."""
        folder = self._call.project
        looks: dict[str, tuple[int, int]] = {}
        for path in (*sorted(folder.glob("*.yaml")), *(folder / name for name in self._named)):
            try:
                found = path.stat()
            except OSError:
                continue
            looks[os.path.relpath(path, folder)] = (found.st_mtime_ns, found.st_size)
        return looks

    def settled(self, before: Looks, over: Event) -> bool:
        """Whether files have changed, and do not change any more."""
        found = self.now()
        if found == before:
            return False
        over.wait(_EVERY)
        return self.now() == found

    def differing(self, before: Looks) -> list[str]:
        """The files that are not as they were."""
        now = self.now()
        return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


class _Runs:
    """One run after the other; signals go on to the one that runs."""

    def __init__(self, as_json: bool, words: Sequence[str]):
        self.over = Event()
        self._as_json = as_json
        self._words = words
        self._child: subprocess.Popen[bytes] | None = None

    def once(self, told: IO[bytes], stale: Callable[[], bool]) -> int:
        """The exit code of a run; it is stopped when what it runs is `stale`."""
        told.seek(0)
        self._child = subprocess.Popen(  # noqa: S603  # ourselves, with the words that we were given
            [sys.executable, "-m", "tongqu", *self._words],
            stdin=subprocess.DEVNULL,
            stdout=told if self._as_json else None,
            process_group=0,  # a terminal's Ctrl-C comes to us, and from us
        )
        if self.over.is_set():
            self._child.terminate()
        while True:
            try:
                code = self._child.wait(_EVERY)
                break
            except subprocess.TimeoutExpired:
                if not self.over.is_set() and stale():
                    self._child.terminate()
                    code = self._child.wait()
                    break
        self._child = None
        return code if code >= 0 else 1

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """Within this block SIGINT and SIGTERM end the watch: the first in order, the second at once."""

        def asked(number: int, frame: FrameType | None) -> None:
            del frame
            child, again = self._child, self.over.is_set()
            self.over.set()
            if child is not None:
                child.send_signal(number)
            elif again:
                os._exit(1)

        before = {number: signal.signal(number, asked) for number in _SIGNALS}
        if early.taken():
            self.over.set()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
