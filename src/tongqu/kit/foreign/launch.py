"""Runs one program apart: with limits, without the right to gain rights, and never longer than whoever asked for it.

Started as `python -I -S launch.py JSON PROGRAM ARGUMENT…` by `kit.foreign.process`; needs nothing but the standard
library. File descriptor `alive` is a pipe whose other end the asking process holds: when that closes, for whatever
reason, the program and all that it started are killed; when it closes without a word, the asking process has died, and
the private folder is deleted too.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import selectors
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_NO_NEW_PRIVILEGES, _SUBREAPER = 38, 36
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_KILLED, _ORPHANED = 128 + signal.SIGKILL, -1
REFUSED = 125
"""The exit code when the program could not be started as asked; the reason is on stderr."""


def main(argv: list[str]) -> int:
    """Run the program and wait for its end; its exit code, or 128 and the signal that ended it."""
    asked: dict[str, Any] = json.loads(argv[0])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)  # what the program leaves behind comes to us, and ends with us
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child == 0:
        _become(asked, argv[1:], libc)
    code = _watch(child, int(asked["alive"]), woken)
    _end_all(child)
    if code == _ORPHANED:
        shutil.rmtree(asked["folder"], ignore_errors=True)
        return _KILLED
    return code


def _become(asked: dict[str, Any], command: list[str], libc: Any) -> None:
    """Turn into the program; never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if not asked["network"]:
            _leave_network(libc)
        for name, most in asked["limits"].items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(number, (allowed, allowed))
        os.closerange(3, 256)
        os.execv(command[0], command)  # noqa: S606  # no shell is meant
    except OSError as error:
        os.write(2, f"the program cannot be started: {error}\n".encode())
    os._exit(REFUSED)


def _leave_network(libc: Any) -> None:
    """Go into a network of one's own, in which there is nothing, not even loopback."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_NET) != 0:
        raise OSError(ctypes.get_errno(), "this system does not let processes be cut off from the network")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def _watch(child: int, alive: int, woken: int) -> int:
    """Wait until the program ends by itself, or has to because nobody waits for it any more."""
    with selectors.DefaultSelector() as selector:
        selector.register(alive, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == alive:
                    return _KILLED if os.read(alive, 1) else _ORPHANED
                os.read(woken, 4096)
                while True:
                    try:
                        done, status = os.waitpid(-1, os.WNOHANG)
                    except ChildProcessError:
                        return REFUSED
                    if done == child:
                        code = os.waitstatus_to_exitcode(status)
                        return code if code >= 0 else 128 - code
                    if done == 0:
                        break


def _end_all(child: int) -> None:
    """Kill the program's session and whatever left it."""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    while True:
        left = [
            int(one) for task in Path("/proc/self/task").iterdir() for one in (task / "children").read_text().split()
        ]
        if not left:
            return
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
