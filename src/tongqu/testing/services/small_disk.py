"""A small file system that really fills up, for tests of what happens then."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.guard import GUARD, Process, find, kill_tree
from tongqu.testing.services.process import Account, discard_folder, new_folder, run

_BALLAST = "ballast"


class SmallDisk:
    """A tmpfs of a few MiB in a mount namespace of its own; it is gone when this process ends, however it ends.

    Nobody needs to be root: the namespace belongs to an unprivileged one of its user. `owner` is the account of the
    server that will write to it, None if that is a program of ours. Raises ServiceMissingError where the kernel or the
    container does not allow such namespaces.
    """

    def __init__(self, megabytes: int, owner: Account | None = None):
        self._owner = owner
        self.mounted = new_folder("tongqu-disk-", owner)
        """Where it is for programs that are run `inside`."""
        mount = 'mount -t tmpfs -o "size=$1m,mode=700" small "$2" && echo mounted && exec sleep infinity'
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(megabytes), self.mounted],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=owner.uid if owner else None,
            group=owner.gid if owner else None,
            extra_groups=[] if owner else None,
        )
        self._root: Process | None = find(self._holder.pid)
        if self._root is not None:
            GUARD.look_after(self._root)
        assert self._holder.stdout is not None
        with self._holder.stdout as heard:
            said = heard.readline().decode(errors="replace").strip()
        if said != "mounted":
            self.close()
            raise ServiceMissingError(
                f"a private mount namespace ({said or 'unshare ended'})",
                hint="allow user namespaces: sysctl kernel.unprivileged_userns_clone=1; containers need CAP_SYS_ADMIN",
            )

    @property
    def folder(self) -> Path:
        """The same file system as programs outside of the namespace reach it, if they belong to the same account.

        Programs that resolve symbolic links themselves (SQLite) cannot use it: run them `inside`.
        """
        return Path(f"/proc/{self._holder.pid}/root{self.mounted}")

    def inside(self, *command: str | Path) -> list[str]:
        """The command that runs `command` where the file system is seen under `mounted`."""
        enter = ["nsenter", f"--target={self._holder.pid}", "--user", "--preserve-credentials", "--mount"]
        return [*enter, "--", *map(str, command)]

    def make_folder(self, name: str) -> Path:
        """A folder of the owner's on it, as seen from outside."""
        self._do("mkdir", self.mounted / name)
        return self.folder / name

    def fill(self, megabytes: int) -> None:
        """Leave room for so many MiB, taking the rest with a file that has nothing to do with anybody."""
        self._do("fallocate", f"--length={self.free - (megabytes << 20)}", self.mounted / _BALLAST)

    def make_room(self) -> None:
        """Take that file away, as a person does who frees space."""
        self._do("rm", self.mounted / _BALLAST)

    @property
    def free(self) -> int:
        """Bytes that can still be written to it."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Unmount it, which loses what is on it; may be called twice."""
        if self._root is not None:
            kill_tree(self._root)
            self._holder.wait(10)
            GUARD.forget(self._root)
            self._root = None
        if self.mounted.exists():
            discard_folder(self.mounted)

    def _do(self, *command: str | Path) -> None:
        run(self.inside(*command), self._owner, Path("/"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
