"""Keeps tables from being written onto themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tongqu.app.services.ends import End
from tongqu.core.data import Mode, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.engine.compile import check_followed, check_targets
from tongqu.engine.job import Stream


def same(one: End, other: End) -> bool:
    """Whether both point to the same with the same settings; a path may be written in several ways."""
    first, second = (end.settings.model_dump(exclude={"path"}) for end in (one, other))
    return one.identity == other.identity and first == second


def check_apart(streams: Sequence[Stream]) -> None:
    """Refuse tables that would be written onto themselves: as they were at best, doubled by an append, read without end
    by a follower. Raises InvalidPlanError."""
    for stream in streams:
        if stream.target == stream.source_dataset.name:
            raise InvalidPlanError(
                f"{stream.target!r} would be written onto itself: source and target are the same",
                path=stream.name,
                hint=f"name another target, or give it another name there: --table '{stream.target}=NAME'",
            )


def check_pipeline(streams: Sequence[Stream], told: WriteMode | None, sources: Iterable[End], sink: End) -> None:
    """What must hold of the streams of a pipeline's sink, whose way of writing is `told` if it says one. Steps may mend
    a table in its place; without steps, rows that are appended to where they come from are refused, and changes that
    would come back as changes. Raises InvalidPlanError."""
    check_targets(streams)
    for stream in streams:
        check_followed(stream, told)
    bare = [stream for stream in streams if stream.chain is None and stream.target == stream.source_dataset.name]
    doubled = [one for one in bare if one.write is WriteMode.APPEND or one.mode in (Mode.CDC, Mode.STREAM)]
    if doubled and any(same(one, sink) for one in sources):
        raise InvalidPlanError(
            f"{doubled[0].target!r} would be written onto itself: source and target are the same",
            path=doubled[0].name,
            hint="name another `dataset` in the sink",
        )
