"""A foreign program in a process of its own: private folder, nothing inherited, limits, one end for all of it."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from tongqu.core.errors import AnswerError, ReadError, TimedOutError
from tongqu.kit.foreign.settings import ForeignSettings

_BLOCK = 1 << 20
_KEPT = 16_384
"""So many bytes are kept of what a program says on stderr, the last ones."""
_SHOWN = 5
LONGEST = 32 << 20
"""A longer line is no message."""
_LAUNCH = Path(__file__).with_name("launch.py")
_WAIT = 0.25


class Sandbox:
    """A private folder (0700) in which programs of one connection run, deleted at the end."""

    def __init__(self, settings: ForeignSettings):
        self._settings = settings
        self._folder: Path | None = None
        self._running: set[Process] = set()
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder, made when it is first asked for."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="tongqu-foreign-"))
                (self._folder / "tmp").mkdir(mode=0o700)
            return self._folder

    def file(self, name: str, content: Any) -> Path:
        """Write JSON into a new file of the folder that only its owner can read (0600)."""
        descriptor, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".json", dir=self.folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
        return Path(path)

    def start(self, command: Sequence[str], *, feeds: bool = False) -> Process:
        """Start a program; with `feeds` its stdin is open for writing. Raises ReadError if it cannot be started."""
        made = Process(self, self._settings, command, feeds=feeds)
        with self._lock:
            self._running.add(made)
        return made

    def ended(self, process: Process) -> None:
        """A program of this folder is gone."""
        with self._lock:
            self._running.discard(process)

    def close(self) -> None:
        """End all programs and delete the folder; may be called twice."""
        with self._lock:
            running, folder = list(self._running), self._folder
            self._folder = None
        for one in running:
            one.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


class Process:
    """One run of a program. `blocks` is what it writes; `close` ends it and everything it started, and deletes the
    files of the folder that it was given."""

    def __init__(self, sandbox: Sandbox, settings: ForeignSettings, command: Sequence[str], *, feeds: bool):
        self._sandbox, self._settings = sandbox, settings
        self.name = settings.program
        self._said = bytearray()
        self._ended = False
        self._heard = monotonic()
        alive, self._alive = os.pipe()
        self._given = [path for path in map(Path, command) if path.parent == sandbox.folder]
        asked = {
            "alive": alive,
            "folder": str(sandbox.folder),
            "network": settings.network,
            "limits": _limits(settings),
        }
        try:
            self._process = subprocess.Popen(  # noqa: S603  # an installed program, by its path
                [sys.executable, "-I", "-S", str(_LAUNCH), json.dumps(asked), *map(str, command)],
                stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=sandbox.folder,
                env=_environment(settings, sandbox.folder, command[0]),
                pass_fds=(alive,),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            os.close(self._alive)
            raise ReadError(f"{self.name} cannot be started: {error.strerror}", path=self.name) from error
        finally:
            os.close(alive)
        self._listener = threading.Thread(target=self._listen, name="tongqu-foreign-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Keep the end of what the program says on stderr, however much it says."""
        assert self._process.stderr is not None  # noqa: S101  # it was opened as a pipe
        with suppress(ValueError, OSError):
            while block := self._process.stderr.read(65_536):
                self._heard = monotonic()
                self._said += block
                del self._said[:-_KEPT]

    def blocks(self, stop: Callable[[], bool], silent: float | None = None) -> Iterator[bytes]:
        """What the program writes to stdout, until it closes it or `stop` says so (asked four times a second). Raises
        TimedOutError if it writes nothing at all for `silent` seconds."""
        assert self._process.stdout is not None  # noqa: S101  # it was opened as a pipe
        out, most = self._process.stdout.fileno(), silent or self._settings.limits.silent_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            self._heard = monotonic()
            while not stop():
                if not selector.select(min(_WAIT, most)):
                    if monotonic() - self._heard > most:
                        self.close()
                        raise TimedOutError(
                            f"{self.name} said nothing for {most:g} s and was ended",
                            path=self.name,
                            hint=f"limits.silent_seconds allows more; it last said: {self.said() or 'nothing'}",
                        )
                    continue
                block = os.read(out, _BLOCK)
                if not block:
                    return
                self._heard = monotonic()
                yield block

    def feed(self, data: bytes) -> None:
        """Write to the program's stdin; raises BrokenPipeError if it has closed it."""
        assert self._process.stdin is not None  # noqa: S101  # the caller asked for it
        view = memoryview(data)
        while view:
            view = view[self._process.stdin.write(view) or 0 :]

    def done_feeding(self) -> None:
        """Close the program's stdin."""
        assert self._process.stdin is not None  # noqa: S101  # the caller asked for it
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def finish(self) -> int:
        """Wait for the end of a program that has closed its stdout; its exit code."""
        try:
            code = self._process.wait(self._settings.limits.silent_seconds)
        except subprocess.TimeoutExpired:
            self.close()
            raise TimedOutError(f"{self.name} did not end", path=self.name, hint="it was ended") from None
        self._listener.join(5)
        self.close()
        return code

    def need_success(self) -> None:
        """Wait for the end; raises ReadError with the program's last words if it failed."""
        if code := self.finish():
            raise self.failed(f"{self.name} ended with exit code {code}")

    def failed(self, what: str) -> ReadError:
        """The error for a program that failed, with its last words."""
        said = self.said()
        return ReadError(f"{what}: {said}" if said else what, path=self.name, hint="see the program's documentation")

    def said(self) -> str:
        """The last lines of stderr, without secrets."""
        text = self._settings.hidden(bytes(self._said).decode("utf-8", "replace"))
        text = text.replace(str(self._sandbox.folder), "…")
        lines = [re.sub(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f]", "", line).strip() for line in text.splitlines()]
        return " / ".join([line for line in lines if line][-_SHOWN:])[-2000:]

    def close(self) -> None:
        """End the program and all that it started; may be called twice."""
        if self._ended:
            return
        self._ended = True
        with suppress(BrokenPipeError):
            os.write(self._alive, b".")  # we live, the folder is ours
        os.close(self._alive)  # the launcher kills all
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._listener.join(5)
        if self._process.stderr is not None and not self._listener.is_alive():
            self._process.stderr.close()
        for path in self._given:
            path.unlink(missing_ok=True)
        self._sandbox.ended(self)


def whole_lines(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Blocks cut at line ends. Raises AnswerError for a line longer than 32 MiB."""
    parts, size = list[bytes](), 0
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*parts, block[:end]])
            parts, size = [], 0
        parts.append(block[end:])
        size += len(parts[-1])
        if size > LONGEST:
            raise AnswerError(f"{name} wrote a line longer than {LONGEST >> 20} MiB", path=name, hint="it was ended")
    if size:
        yield b"".join([*parts, b"\n"])


def _limits(settings: ForeignSettings) -> dict[str, int]:
    limits = settings.limits
    found = {"RLIMIT_NOFILE": limits.open_files, "RLIMIT_CORE": 0}
    if limits.memory_mb:
        found["RLIMIT_AS"] = limits.memory_mb << 20
    if limits.cpu_seconds:
        found["RLIMIT_CPU"] = limits.cpu_seconds
    return found


def _environment(settings: ForeignSettings, folder: Path, program: str) -> Mapping[str, str]:
    own = {
        "PATH": f"{Path(program).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONNOUSERSITE": "1",
    }
    return own | dict(settings.environment)
