"""Turns the streams of a finished job into lineage: which columns of which tables became which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tongqu.catalog.lineage import Flow
from tongqu.engine.job import Stream

if TYPE_CHECKING:
    from tongqu.app.services.graph_source import GraphSource
    from tongqu.core.operator import Step

_ONLY = "source"


@dataclass(frozen=True)
class Names:
    """What the ends of a job are called: each source by its name in the plan, and the sink."""

    sources: Mapping[str, str] = field(default_factory=dict)
    sink: str = ""
    kind: str = "sync"
    project: str = ""
    version: int = 0
    hash: str = ""


def flows(streams: Sequence[Stream], names: Names, run: str) -> Iterator[Flow]:
    """One flow for each stream."""
    for stream in streams:
        tables, columns, steps = _parts(stream)
        places = {name: (names.sources.get(name) or next(iter(names.sources.values()), ""), table)
                  for name, table in tables.items()}  # fmt: skip
        told = {
            column: sorted((*places[name], origin) for name, origin in origins) for column, origins in columns.items()
        }
        copies = {c: (*places[name], old) for c, (name, old) in _copies(stream).items()}
        key = stream.key or (stream.chain.output.key if stream.chain else stream.source_dataset.key)
        yield Flow(
            name=stream.name,
            kind=names.kind,
            mode=stream.mode.value,
            write=stream.write.value,
            sources=list(places.values()),
            sink=(names.sink, stream.target),
            columns=told,
            steps=[f"{step.id}:{step.verb}" for step in steps],
            run=run,
            project=names.project,
            version=names.version,
            hash=names.hash,
            key=key,
            copies=copies,
            links=[((*places[a], x), (*places[b], y)) for (a, x), (b, y) in _links(stream)],
        )


def _parts(stream: Stream) -> tuple[dict[str, str], Mapping[str, set[tuple[str, str]]], Sequence[Step]]:
    """Each source's table, each target column's origins, and the steps."""
    if (graph := _graph(stream)) is not None:
        return graph.tables, graph.lineage, graph.steps
    tables = {_ONLY: stream.source_dataset.name}
    if stream.chain is None:
        return tables, {c: {(_ONLY, c)} for c in stream.source_dataset.columns}, ()
    found = stream.chain.lineage()
    return tables, {c: {(_ONLY, o) for o in origins} for c, origins in found.items()}, stream.chain.steps


def _copies(stream: Stream) -> dict[str, tuple[str, str]]:
    """The target's columns that are unchanged copies, with the source and column they copy."""
    if (graph := _graph(stream)) is not None:
        return graph.copies
    kept = {c: (_ONLY, c) for c in stream.source_dataset.columns}
    if stream.chain is not None:
        from tongqu.engine.copies import copied

        for step, before in zip(stream.chain.steps, stream.chain.datasets, strict=False):
            kept = copied(step, [before], [kept])
    return kept


def _links(stream: Stream) -> Sequence[tuple[tuple[str, str], tuple[str, str]]]:
    graph = _graph(stream)
    return () if graph is None else graph.links


def _graph(stream: Stream) -> GraphSource | None:
    """The graph of steps that makes the stream's rows, where it is more than a chain."""
    if not stream.recipe and stream.graph is None:
        return None
    from tongqu.app.services.graph_source import GraphSource

    return next((found for found in (stream.graph, stream.source) if isinstance(found, GraphSource)), None)
