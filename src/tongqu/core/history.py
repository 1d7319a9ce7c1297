"""What a step wants of the versions of a dataset that it looks up as of its rows' own time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class History:
    """What a step wants of the versions of what it looks up, where these are kept of its log: spans in microseconds.

    Such a side is kept (`Operator.side`) of rows with two columns more, from when (included) to when (not included)
    each held; the table of one row behind it has `reached`, before which everything that was committed is in it, and
    `gaps`, a list of `since` and `until` between which it is not known what held.
    """

    on: str
    """The column of the first input with the instant that a row is looked up at."""
    retention: int
    """How much longer than until the newest row a version is kept that has ended."""
    lateness: int
    """How late the log may tell commits, by the clock here."""
    wait: int
    """How long rows wait for the log to come to their instants."""
    always: bool
    """Whether what is there in the beginning holds since ever."""
    bounded: bool
    """Whether somebody has said `lateness`."""
