"""Whether a process of this machine still lives, told apart from a later one that was given its number."""

from __future__ import annotations

import os
from pathlib import Path


def born(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def lives(pid: int, since: int | None = None) -> bool:
    """Whether the process that was `born` at `since` is there, whoever's it is; None: any of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return since is None or born(pid) in (None, since)
