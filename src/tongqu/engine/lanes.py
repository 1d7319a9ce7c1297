"""Chooses how a stream travels: raw bytes if every column is byte-identical at both ends, else Arrow, else Python."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tongqu.core.data import Lane, Write
from tongqu.core.errors import InvalidPlanError
from tongqu.core.select import Column, Select
from tongqu.engine.job import Stream
from tongqu.engine.leaving import Leaving, leaving


@dataclass(frozen=True)
class Route:
    """A lane, with what the pass lane needs; `reason` tells why it is not a faster one."""

    lane: Lane
    select: Select | None = None
    format: str = ""
    reason: str = ""


def route(stream: Stream, write: Write) -> Route:
    """The best lane for an opened stream, or the forced one; raises InvalidPlanError if the forced one cannot be."""
    slow = (
        Lane.PYTHON
        if stream.chain is not None and any(step.verb == "python" for step in stream.chain.steps)
        else Lane.COLUMNAR
    )
    if stream.lane is Lane.PYTHON or (stream.lane is Lane.COLUMNAR and slow is Lane.COLUMNAR):
        return Route(stream.lane, reason="asked for")
    best = _passing(stream, write)
    if isinstance(best, Route):
        return best
    if stream.lane is Lane.PASS:
        raise InvalidPlanError(
            f"the pass lane cannot carry {stream.name!r}: {best}",
            path=stream.name,
            hint="use --lane columnar, or leave --lane out to let Tongqu choose",
        )
    return Route(slow, reason=best)


def _passing(stream: Stream, write: Write) -> Route | str:
    """The pass lane's route, or the reason why there is none."""
    formats = [f for f in stream.source.formats if f in stream.sink.formats]
    if not formats:
        return "source and sink share no raw format"
    if stream.chain is None:
        select: Select | None = Select(tuple(Column(name) for name in write.dataset.columns))
        reason = ""
    elif isinstance(gone := leaving(stream, write), Leaving):
        return gone.reason
    else:
        select, reason = stream.chain.pushdown(stream.source.dialect)
    if select is None:
        return reason
    types = stream.source.wire_types(stream.source_dataset, select)
    for format in formats:
        wanted = stream.sink.accepts(write, format, types)
        unfit = [c.name for c, cast in zip(select.columns, wanted, strict=True) if cast is None]
        if not unfit:
            columns = [
                replace(column, cast=None if cast == own else cast)
                for column, cast, own in zip(select.columns, wanted, types, strict=True)
            ]
            return Route(Lane.PASS, replace(select, columns=tuple(columns)), format)
        reason = f"no exact {format} form for {', '.join(unfit[:5])}"
    return reason
