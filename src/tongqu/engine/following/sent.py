"""Columns that steps need and that a log would not send: told before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from tongqu.core.data import Dataset, Mode, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import Log
from tongqu.engine.job import Stream


def check_sent(log: Log, dataset: str, stream: Stream, key: Sequence[str] = ()) -> None:
    """Raise InvalidPlanError, naming the column and the fix, if changes may lack a column of the source that a step
    decides or computes by, or that is part of the target's `key`: such changes would end in quarantine."""
    chain = stream.chain
    copies = chain.copies() if chain is not None else {}
    needed = chain.looks_at() if chain is not None else set()
    if stream.write in (WriteMode.UPSERT, WriteMode.HISTORY):
        needed |= {copies.get(name, name) for name in key}
    if not needed:
        return
    found = log.unsent(dataset)
    lacking = [name for name in found.columns if name in needed] if found is not None else []
    if found is not None and lacking:
        raise InvalidPlanError(
            f"changes of {dataset!r} that leave {lacking[0]!r} as it is do not tell its value, which a step needs",
            path=stream.name,
            hint=found.fix,
        )


def check_stream(stream: Stream, dataset: Dataset, key: Sequence[str]) -> None:
    """`check_sent` for a stream that is only planned; nothing is made for it."""
    if stream.mode is not Mode.CDC or stream.chain is None:
        return
    log = stream.source.log("tongqu_plan", [dataset])
    try:
        check_sent(log, dataset.name, stream, key)
    finally:
        log.close()
