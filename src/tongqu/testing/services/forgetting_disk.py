"""A disk that loses what was not synced when power goes, for tests of what was promised to be there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from tongqu.testing.forgetting.disk import How
from tongqu.testing.forgetting.kernel import MARK
from tongqu.testing.services.errors import ServiceError, ServiceMissingError
from tongqu.testing.services.guard import GUARD, Process, find, kill_tree
from tongqu.testing.services.process import discard_folder, new_folder


class ForgettingDisk:
    """A FUSE file system in a mount namespace of its own; it is gone when this process ends, however it ends.

    It records every write, name and sync. `lose` cuts the power now; `record` keeps what happened, so that one run of
    a program can be gone back to at any of its moments, again and again. Contents are safe when their file was synced,
    names when their folder was (POSIX promises no more). Nobody needs to be root. Raises ServiceMissingError where the
    kernel or the container does not allow such namespaces, or FUSE in them.
    """

    def __init__(self) -> None:
        self.mounted = new_folder("tongqu-forgets-", None)
        """Where it is for programs that are run `inside`."""
        self._turn = Lock()
        enter = ["unshare", "--user", "--map-root-user", "--mount"]
        self._holder = subprocess.Popen(
            [*enter, sys.executable, "-m", "tongqu.testing.forgetting.holder", self.mounted],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._root: Process | None = find(self._holder.pid)
        if self._root is not None:
            GUARD.look_after(self._root)
        said = self._hear()
        if said != "mounted":
            self.close()
            raise ServiceMissingError(
                f"FUSE in a private mount namespace ({said or 'unshare ended'})",
                hint="allow user namespaces (sysctl kernel.unprivileged_userns_clone=1) and writing to /dev/fuse; "
                "containers need CAP_SYS_ADMIN and --device /dev/fuse",
            )

    @property
    def folder(self) -> Path:
        """The same file system as programs outside of the namespace reach it.

        Programs that resolve symbolic links themselves (SQLite) cannot use it: run them `inside`.
        """
        return Path(f"/proc/{self._holder.pid}/root{self.mounted}")

    def inside(self, *command: str | Path) -> list[str]:
        """The command that runs `command` where the file system is seen under `mounted`."""
        enter = ["nsenter", f"--target={self._holder.pid}", "--user", "--preserve-credentials", "--mount"]
        return [*enter, "--", *map(str, command)]

    def mark(self, label: str) -> None:
        """Record that somebody was told `label` just now. Programs inside do the same by `os.setxattr` of any file."""
        os.setxattr(self.folder, MARK, label.encode())

    def lose(self, how: How = "nothing", seed: int = 0) -> None:
        """Cut the power. Programs that are still there get errors from now on: kill them before."""
        self._ask(do="lose", number=None, how=how, seed=seed)

    def empty(self) -> None:
        """Begin anew: nothing is there, and earlier recordings are gone."""
        self._ask(do="empty")

    def fail_sync(self, at: int) -> None:
        """The so-manieth sync of a file from now on fails with an I/O error, once; what it was to make safe is lost.
        (Of a folder it does not: then a journaling file system takes no more writes at all.)"""
        self._ask(do="fail", at=at)

    def record(self) -> Recording:
        """What happened since the disk is there, since the last `record`, or since power was lost."""
        told = self._ask(do="keep")
        marks = [(at, label) for at, label in told["marks"]]
        return Recording(self, told["number"], told["length"], marks, told["turns"])

    def close(self) -> None:
        """Unmount it, which loses what is on it; may be called twice."""
        if self._root is not None:
            kill_tree(self._root)
            self._holder.wait(30)
            GUARD.forget(self._root)
            self._root = None
        for pipe in (self._holder.stdin, self._holder.stdout):
            if pipe is not None:
                pipe.close()
        if self.mounted.exists():
            discard_folder(self.mounted)

    def _ask(self, **asked: Any) -> Any:
        assert self._holder.stdin is not None
        with self._turn:
            self._holder.stdin.write(json.dumps(asked) + "\n")
            self._holder.stdin.flush()
            said = self._hear()
        if not said.startswith("{"):
            raise ServiceError(f"the disk that forgets ended: {said} {self._rest()}")
        return json.loads(said)

    def _hear(self) -> str:
        assert self._holder.stdout is not None
        return self._holder.stdout.readline().strip()

    def _rest(self) -> str:
        assert self._holder.stdout is not None
        return self._holder.stdout.read()[-2000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Recording:
    """What happened to a disk that forgets; a moment is the number of steps before it."""

    disk: ForgettingDisk
    number: int
    length: int
    marks: list[tuple[int, str]]
    """What was told to whom, with the step it was."""
    turns: list[int]
    """Steps that made something safe or changed a name: what surrounds them is what can go wrong."""

    def told(self, at: int) -> list[str]:
        """What had been told before that moment."""
        return [label for step, label in self.marks if step < at]

    def moments(self, many: int, seed: int) -> list[int]:
        """Moments to go back to, ascending: right after each mark and around turns, as many as asked for, drawn by the
        seed; the end is always among them."""
        draw = random.Random(seed)  # noqa: S311 - repeatable
        telling = [at + 1 for at, _ in self.marks] + [at + after for at in self.turns for after in (0, 1)]
        drawn = [draw.choice(telling) if telling and number % 3 else draw.randrange(self.length + 1)
                 for number in range(many - 1)]  # fmt: skip
        return sorted({self.length, *drawn})

    def go_back(self, at: int, how: How, seed: int = 0) -> None:
        """Make the disk what a loss of power at that moment leaves; what happens to it then is recorded anew."""
        self.disk._ask(do="lose", number=self.number, at=at, how=how, seed=seed)
