"""Logs that systems keep for pipelines, noted beside their connection, so that those of removed ones can be given up.

A log has no owner at the system: what keeps it there (a replication slot holds all log behind it) says nothing of the
pipeline. So each one that a pipeline follows is noted in the connection's folder of the project's home.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tongqu.app.services.ends import End
from tongqu.kit import lasting


def note_log(end: End, log: str, pipeline: str) -> None:
    """Note that a pipeline follows this log of a connection."""
    if end.lodging is None:
        return
    file = end.lodging / "logs" / f"{log}.json"
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
