"""By what a pipeline's sync is known again: the next run with the same identity goes on where this one was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.app.project.model import PipelineEntry, PipelineSource
from tongqu.core.data import Mode
from tongqu.core.errors import NotFoundError, TongquError
from tongqu.engine.job import Stream


def patterns(reads: PipelineSource) -> list[str]:
    """The datasets that are read, as they are named."""
    return [reads.dataset] if reads.dataset else (reads.datasets or ["*"])


def streams_of(reads: Sequence[PipelineSource], streams: Sequence[Stream], key: Sequence[str]) -> list[Any]:
    """The streams as they are part of the identity. Where a log is followed for all datasets that fit some patterns,
    they are the patterns: a table that goes or comes leaves the others where they are."""
    if len(reads) == 1 and not reads[0].dataset and all(stream.mode is Mode.CDC for stream in streams):
        return ["cdc", sorted(patterns(reads[0])), sorted({stream.write.value for stream in streams}), list(key)]
    return [[s.source_dataset.name, s.target, s.mode, s.write, list(s.key), s.cursor] for s in streams]


def absent(
    name: str, entry: PipelineEntry, modes: Mapping[str, Mode], streams: Sequence[Stream]
) -> dict[str, TongquError]:
    """The streams of a pipeline whose tables are named among those whose log is followed, and are not there."""
    if list(modes.values()) != [Mode.CDC]:
        return {}
    (reads,) = entry.all_sources.values()
    there = {stream.source_dataset.name for stream in streams}
    named = [one for one in reads.datasets or () if not any(sign in one for sign in "*?[!") and one not in there]
    return {
        f"{name}.{one}": NotFoundError(f"there is no table {one!r}", hint=f"make it again, or leave it out of {name!r}")
        for one in named
        if not any(known.endswith(f".{one}") or one.endswith(f".{known}") for known in there)
    }


def digest(told: Mapping[str, Any]) -> str:
    """The identity of what is told."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
