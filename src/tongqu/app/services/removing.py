"""Rows that a source says were deleted leave the target of a `sync`, which has no steps to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.core.data import Mode, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.removing import Removing
from tongqu.engine.job import Stream
from tongqu.engine.leaving import leaving

if TYPE_CHECKING:
    from tongqu.core.operator import Step

_HINT = "use --write upsert into a target whose rows can be deleted, or a pipeline: its steps say what becomes of them"


def removals(stream: Stream) -> list[Step]:
    """The step that leaves out rows of an incremental read that were deleted; none where the source tells no such
    thing."""
    source, dataset = stream.source, stream.source_dataset
    if stream.mode is not Mode.INCREMENTAL or not isinstance(source, Removing):
        return []
    if source.removed not in dataset.columns:
        return []
    from tongqu.core.operator import parse_step  # steps bring Arrow, which a plain copy does without

    return [parse_step({"filter": f'"{source.removed}" is null', "id": "removed"}, "removed")]


def check_removals(stream: Stream) -> None:
    """Raise InvalidPlanError, before anything is written, where rows that were deleted would stay in the target."""
    if stream.chain is None or not removals(stream):
        return
    write = Write(
        stream=stream.name, dataset=stream.chain.output.bound(stream.target, stream.key), mode=stream.write,
        sync="", run="", key=stream.key, deletes=stream.deletes, incremental=True,
    )  # fmt: skip
    if stream.write not in (WriteMode.UPSERT, WriteMode.HISTORY):
        raise InvalidPlanError(
            f"the source tells which rows of {stream.name!r} were deleted, and write mode {stream.write.value!r} "
            "cannot delete them",
            path=stream.name,
            hint=_HINT,
        )
    if isinstance(stays := leaving(stream, write), str):
        raise InvalidPlanError(
            f"rows of {stream.name!r} that the source says were deleted would stay: {stays}",
            path=stream.name,
            hint=_HINT,
        )
