"""Pipelines whose steps keep state while logs are followed: their source, and the key by which they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu.core.data import Dataset, Mode
from tongqu.core.errors import InvalidPlanError

if TYPE_CHECKING:
    from tongqu.app.project.model import PipelineEntry
    from tongqu.core.connector import Source
    from tongqu.engine.graph import Graph
    from tongqu.engine.state.source import StateSource


def state_source(
    graph: Graph,
    sources: Mapping[str, Source],
    modes: Mapping[str, Mode],
    *,
    entry: PipelineEntry,
    name: str,
    home: Path | None,
) -> StateSource:
    """The steps over these sources as one source; `modes` tell whose logs tell changes. Raises
    InvalidPlanError for steps that cannot be followed, and without a project's home (the folder is the sink's)."""
    from tongqu.engine.state.source import Feed, StateSource

    if home is None:
        raise InvalidPlanError("steps that keep state need a project's home", path=name, hint="set TONGQU_HOME")
    feeds: dict[str, Feed] = {}
    for one, source in sources.items():
        place = entry.all_sources[one].connection
        same = next(
            (feed.source for name, feed in feeds.items() if entry.all_sources[name].connection == place), source
        )
        dataset = graph.datasets[one]
        own = tuple(column for column in entry.all_sources[one].key if column in dataset.columns)
        dataset = dataset.bound(dataset.name, own) if own else dataset
        feeds[one] = Feed(same, dataset, modes[one] is Mode.CDC)
    limit = entry.limit
    made = StateSource(graph.plan, feeds, home / "state", name, recipe=graph.recipe)
    made.limit_rows, made.memory_mb = limit.state_rows or made.limit_rows, limit.memory_mb or made.memory_mb
    return made


def check_written(dataset: Dataset, asked: Sequence[str], path: str) -> None:
    """Raise InvalidPlanError if rows shall be written by another key than the one that tells them apart."""
    if asked and set(asked) != set(dataset.key):
        raise InvalidPlanError(
            f"the rows that are followed have the key ({', '.join(dataset.key) or 'none'}), not ({', '.join(asked)})",
            path=path,
            hint="leave the sink's key out; without one, keep every change: write: append",
        )
