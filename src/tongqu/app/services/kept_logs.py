"""Logs that systems keep for pipelines, noted beside their connection, so that those of removed ones can be given up.

A log has no owner at the system: what keeps it there (a replication slot holds all log behind it) says nothing of the
pipeline. So each one that a pipeline follows is noted in the connection's folder of the project's home.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from tongqu.app.services.ends import End
from tongqu.kit import lasting


def own_name(end: End, kind: str, *told: str) -> str:
    """A name for a log whose position the home keeps: other homes have other names for theirs, but for a copy."""
    own = ""
    if end.lodging is not None:
        lasting.make_folder(end.lodging / "logs")
        own = lasting.put_first(end.lodging / "logs" / "id", secrets.token_hex(16).encode()).decode()
    return f"tongqu_{kind}_{hashlib.sha256(json.dumps([own, *told]).encode()).hexdigest()[:16]}"


def two_way_of(name: str) -> str:
    """What stands for a two-way sync where pipelines are named."""
    return f"sync.{name}"


def note_log(end: End, log: str, pipeline: str) -> Callable[[str, str], None]:
    """Note that a pipeline follows this log of a connection, if it did not leave it for another one. Returns what notes
    that it leaves one for another one."""

    def left(old: str, new: str) -> None:
        if end.lodging is not None:
            _note(end.lodging, new, pipeline)
            (end.lodging / "logs" / f"{old}.json").unlink(missing_ok=True)

    if end.lodging is not None and not any((end.lodging / "logs").glob(f"{log}_*.json")):
        _note(end.lodging, log, pipeline)
    return left


def _note(lodging: Path, log: str, pipeline: str) -> None:
    file = lodging / "logs" / f"{log}.json"
    if not file.exists():
        lasting.make_folder(file.parent)
        lasting.put(file, json.dumps({"log": log, "pipeline": pipeline}).encode())


def left_over(end: End, pipelines: Collection[str]) -> dict[str, str]:
    """The logs of a connection whose pipeline is not among these, each with its pipeline."""
    return {told["log"]: told["pipeline"] for _, told in _noted(end) if told["pipeline"] not in pipelines}


def give_up(end: End, log: str) -> None:
    """Let the system throw a log away. Raises BusyError while somebody reads it."""
    source = end.source()
    try:
        kept = source.log(log, [])
        try:
            kept.forget()
        finally:
            kept.close()
    finally:
        source.close()
    for file, told in _noted(end):
        if told["log"] == log:
            file.unlink(missing_ok=True)


def _noted(end: End) -> Iterator[tuple[Path, dict[str, Any]]]:
    folder = end.lodging / "logs" if end.lodging is not None else None
    for file in sorted(folder.glob("*.json")) if folder is not None and folder.is_dir() else ():
        yield file, json.loads(file.read_text(encoding="utf-8"))
