"""Limits as people write them: a count of rows or a share of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tongqu.app.project.model import PipelineEntry
    from tongqu.engine.job import Limits


def share(limit: int | str | None) -> tuple[int | None, float | None]:
    """A limit as count or share: `100` → (100, None), `1%` → (None, 0.01). Raises ValueError."""
    if limit is None:
        return None, None
    text = str(limit).strip()
    if text.endswith("%"):
        value = float(text[:-1]) / 100
        if not 0 <= value <= 1:
            raise ValueError(text)
        return None, value
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count, None


def limits(entry: PipelineEntry) -> Limits:
    """A pipeline's bounds in the engine's words."""
    from tongqu.engine.job import Limits

    count, part = share(entry.limit.quarantined)
    default = Limits()
    return Limits(
        chunk_rows=entry.limit.chunk_rows or default.chunk_rows,
        splits=entry.limit.splits,
        memory_mb=entry.limit.memory_mb or default.memory_mb,
        quarantined=count,
        quarantined_share=part,
    )
