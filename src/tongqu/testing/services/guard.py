"""Stops, continues and kills a server with all its children; run as a script it does so once its parent is gone.

A server must not outlive the tests, not even when the test process is killed with SIGKILL while the
server is paused. So one guard process reads the pids and folders to look after from its standard input
and cleans up at end of file, which the kernel sends however the parent dies. Only the standard library is
imported, since the script runs isolated (`python -I -S guard.py`). Linux only (`/proc`).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

_IPC_RMID = 0


class Process(NamedTuple):
    """A process that can not be mistaken for a later one with the same pid."""

    pid: int
    started: str


def find(pid: int) -> Process | None:
    """The living process with this pid; None if there is none or it is a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else Process(pid, fields[19])


def pause_tree(root: Process) -> set[Process]:
    """Sends SIGSTOP to `root` first, so that it starts no more children, then to every descendant."""
    stopped: set[Process] = set()
    found = {root}
    while found - stopped:
        for process in found - stopped:
            _send(process, signal.SIGSTOP)
        stopped |= found
        found = _descendants(root)
    return stopped


def resume_tree(root: Process) -> None:
    """Sends SIGCONT to every descendant, then to `root`."""
    for process in (*_descendants(root), root):
        _send(process, signal.SIGCONT)


def kill_tree(root: Process, seconds: float = 10.0) -> bool:
    """Kills `root` and every descendant with SIGKILL; True when all of them were gone within `seconds`."""
    tree = pause_tree(root)
    for process in tree:
        _send(process, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while any(find(process.pid) == process for process in tree):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def remove_folder(folder: Path) -> None:
    """Removes a server's folder, and the System V segment a killed PostgreSQL has left behind."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        # Seventh line of postmaster.pid: key and id of the segment (src/include/utils/pidfile.h).
        segment = (folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
        ctypes.CDLL(None).shmctl(int(segment), _IPC_RMID, None)
    shutil.rmtree(folder, ignore_errors=True)


class Guard:
    """The parent's end: `look_after` a process or a folder, `forget` it when it was ended in the normal way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def look_after(self, what: Process | Path) -> None:
        """From now on the process is killed, or the folder removed, when this process ends in any way."""
        self._tell("+", what)

    def forget(self, what: Process | Path) -> None:
        """The opposite of `look_after`."""
        self._tell("-", what)

    def close(self) -> None:
        """End the guard, which first ends whatever it still looks after; called when this process ends."""
        with self._lock:
            child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=30)

    def _tell(self, sign: str, what: Process | Path) -> None:
        text = f"folder {what}" if isinstance(what, Path) else f"process {what.pid} {what.started}"
        with self._lock:
            if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
                if self._child is None:
                    atexit.register(self.close)
                self._owner = os.getpid()
                self._child = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                    cwd="/",
                )
            assert self._child.stdin is not None
            self._child.stdin.write(f"{sign}{text}\n".encode())
            self._child.stdin.flush()


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: state, parent, …, start time at index 19 (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _descendants(root: Process) -> set[Process]:
    parents: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None and fields[0] not in "ZX":
            parents.setdefault(int(fields[1]), []).append(Process(int(entry.name), fields[19]))
    found: set[Process] = set()
    open_ = [root]
    while open_:
        children = parents.get(open_.pop().pid, [])
        found.update(children)
        open_.extend(children)
    return found


def _send(process: Process, number: signal.Signals) -> None:
    if find(process.pid) == process:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[str, None] = {}
    for line in sys.stdin:
        sign, text = line[0], line[1:].rstrip("\n")
        if sign == "+":
            watched[text] = None
        else:
            watched.pop(text, None)
    for text in sorted(watched, reverse=True):  # processes before the folders they use
        kind, _, rest = text.partition(" ")
        if kind == "process":
            pid, _, started = rest.partition(" ")
            if find(int(pid)) == Process(int(pid), started):
                kill_tree(Process(int(pid), started))
        else:
            remove_folder(Path(rest))


GUARD = Guard()

if __name__ == "__main__":
    _main()
