"""What a stream asks of its sink, the same in every process that moves a part of it."""

from __future__ import annotations

from tongqu.core.data import Mode, Write
from tongqu.engine.job import Stream


def write_of(stream: Stream, run: str, started_at: str, *, restart: bool = False) -> Write:
    """What the sink is asked to write for a stream of a run that began at an RFC 3339 instant."""
    arriving = stream.chain.output if stream.chain is not None else stream.source_dataset
    key = stream.key or arriving.key
    incremental = stream.mode is Mode.INCREMENTAL
    source = stream.source_dataset
    return Write(
        stream=stream.name,
        dataset=arriving.bound(stream.target, tuple(key)),
        mode=stream.write,
        sync=stream.sync,
        run=run,
        key=tuple(key),
        deletes=stream.deletes,
        incremental=incremental,
        unique=bool(key) and set(key) == set(source.key) and stream.chain is None,
        resumable=incremental or stream.source.can_resume(source),
        restart=restart,
        recipe=stream.chain.recipe if stream.chain is not None else stream.recipe,
        schema_changes=stream.schema_changes,
        renamed=stream.renamed,
        started_at=started_at,
        cursor=(arriving.cursor if stream.chain is not None else stream.cursor) if incremental else None,
    )
