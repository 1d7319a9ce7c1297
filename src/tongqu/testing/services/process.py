"""One server process in a private folder: its system account, its port, its log and its whole process tree."""

from __future__ import annotations

import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tongqu.testing.services.errors import ServiceError, ServiceStartError
from tongqu.testing.services.guard import GUARD, find, kill_tree, pause_tree, remove_folder, resume_tree

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Account:
    """The system account a server runs as; database servers refuse to run as root."""

    name: str
    uid: int
    gid: int


def account(*names: str) -> Account | None:
    """The first existing account of `names` when we are root; None (stay who we are) otherwise."""
    if os.geteuid() != 0:
        return None
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServiceError(f"no system account of {', '.join(names)} to run the server as")


def new_folder(prefix: str, owner: Account | None) -> Path:
    """A new private folder (mode 0700) that belongs to `owner` and goes when this process goes."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > 60 or not readable(parent):  # socket paths end at 107 bytes
        parent = Path("/var/tmp")  # noqa: S108 - mkdtemp makes an unguessable private folder in it
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    give(folder, owner)
    GUARD.look_after(folder)
    return folder


def discard_folder(folder: Path) -> None:
    """Removes a folder made by `new_folder`, after its server has ended."""
    remove_folder(folder)
    GUARD.forget(folder)


def give(path: Path, owner: Account | None) -> None:
    """Hands one file or folder to `owner` (None: it stays ours)."""
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)


def readable(path: Path) -> bool:
    """Whether any account can reach `path`: every folder above, and `path`, may be searched by others."""
    return all(folder.stat().st_mode & 0o001 for folder in (path.resolve(), *path.resolve().parents))


def free_port() -> int:
    """A loopback port nobody listens on, below the range the kernel takes for outgoing connections.

    So nothing takes the port while the server that owns it is down between `kill9` and `restart`.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first, last = (10_000, low - 1) if low > 12_000 else (20_000, 60_000)
    chosen = random.SystemRandom()
    for _ in range(200):
        port = chosen.randint(first, last)
        if port_is_free(port):
            return port
    raise ServiceError(f"no free loopback port between {first} and {last}")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def run(command: Sequence[str | Path], owner: Account | None, folder: Path) -> None:
    """Runs a preparing program to its end in `folder`; ServiceError with its last words when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
    )
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace")[-2000:]
        raise ServiceStartError(f"{Path(command[0]).name} ended with {done.returncode}: {words}")


class ServerProcess:
    """Starts one server program and owns everything it forks. Not thread-safe."""

    def __init__(self, command: Sequence[str | Path], owner: Account | None, folder: Path) -> None:
        self._log = folder / "server.log"
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=owner.uid if owner else None,
                group=owner.gid if owner else None,
                extra_groups=[] if owner else None,
            )
        self._root = find(self._child.pid)
        if self._root is not None:
            GUARD.look_after(self._root)

    @property
    def running(self) -> bool:
        """Whether the server's first process lives (a paused one does)."""
        return self._child.poll() is None

    def wait(self, seconds: float) -> bool:
        """Waits at most `seconds` for the server to end; True if it has ended."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._forget()
        return True

    def end(self, number: signal.Signals, seconds: float) -> None:
        """Asks the server to end by `number`; kills the whole tree if it is still there after `seconds`."""
        if self._root is not None and self.running:
            resume_tree(self._root)
            self._child.send_signal(number)
            if not self.wait(seconds):
                self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole tree; returns when every process of it is gone."""
        if self._root is not None and self.running:
            gone = kill_tree(self._root)
            self._child.wait(10)
            if not gone:
                raise ServiceError(f"{self._child.args!r} has children that do not end")
        self._forget()

    def pause(self) -> None:
        """SIGSTOP to the whole tree: sockets stay open and the kernel still accepts, nobody answers."""
        if self._root is not None:
            pause_tree(self._root)

    def resume(self) -> None:
        """SIGCONT to the whole tree; harmless if it was not paused."""
        if self._root is not None:
            resume_tree(self._root)

    def log_tail(self) -> str:
        """The last 2000 characters this start of the server wrote."""
        with self._log.open("rb") as log:
            log.seek(self._offset)
            return log.read().decode(errors="replace")[-2000:]

    def _forget(self) -> None:
        if self._root is not None:
            GUARD.forget(self._root)


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(folder)}
