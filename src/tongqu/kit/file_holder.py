"""Names the process that holds a lock on a file, so that "busy" says by whom."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def holder(paths: Iterable[str | Path], locks: Path = Path("/proc/locks")) -> int | None:
    """PID of another process with a POSIX lock on one of the files, writers first; None if the system does not tell.

    Reads Linux's /proc/locks: `1: POSIX ADVISORY WRITE 4711 fe:01:131 0 EOF`.
    """
    inodes = set()
    for path in paths:
        try:
            inodes.add(Path(path).stat().st_ino)
        except OSError:
            continue
    try:
        lines = locks.read_text().splitlines()
    except OSError:
        return None
    found: list[tuple[bool, int]] = []
    for line in lines:
        words = line.split()
        if len(words) < 8 or "->" in words[1]:
            continue
        inode = words[5].rpartition(":")[2]
        pid = int(words[4])
        if inode.isdigit() and int(inode) in inodes and pid not in (os.getpid(), -1):
            found.append((words[3] != "WRITE", pid))
    return min(found)[1] if found else None


def described(pid: int | None) -> str:
    """`process 4711` or, if unknown, `another process`."""
    return f"process {pid}" if pid is not None else "another process"
