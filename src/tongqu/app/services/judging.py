"""Holds a run to the dataset rules of its checks: how fresh its rows are, and how many came compared to before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tongqu.core.data import Counts
from tongqu.core.operator import Step
from tongqu.meaning.dataset_rules import Freshness, Verdict, Volume, stale, unusual

Judge = Callable[[Counts], Sequence[Verdict]]
"""What does not hold of a stream whose rows have all come."""

_LOOKED_BACK = 365


def judge(
    steps: Sequence[Step],
    stream: str,
    history: Callable[[str, int], Sequence[Mapping[str, Any]]],
    now: Callable[[], datetime],
) -> Judge | None:
    """The judge of a stream with these steps; None where no check has a dataset rule.

    `history` gives the newest finished streams of that name, as run documents show them.
    """
    rules = [(step.id, *_rules(step)) for step in steps]
    rules = [(id, freshness, volume) for id, freshness, volume in rules if freshness or volume]
    if not rules:
        return None

    def judged(counts: Counts) -> list[Verdict]:
        before = history(stream, _LOOKED_BACK)
        found: list[Verdict | None] = []
        for id, freshness, volume in rules:
            earlier = [one for document in before for one in document.get("steps", ()) if one.get("id") == id]
            step = counts.steps.get(id)
            if freshness is not None:
                known = [one["newest"] for one in earlier if one.get("newest")]
                newest = max([*known, *([step.newest] if step and step.newest else [])], default=None)
                found.append(stale(freshness, newest, now()))
            if volume is not None:
                rows = step.rows_in if step else 0
                found.append(unusual(volume, rows, [int(one["in"]) for one in earlier]))
        return [verdict for verdict in found if verdict is not None]

    return judged


def _rules(step: Step) -> tuple[Freshness | None, Volume | None]:
    freshness = getattr(step.operator, "freshness", None)
    volume = getattr(step.operator, "volume", None)
    return (
        freshness if isinstance(freshness, Freshness) else None,
        volume if isinstance(volume, Volume) else None,
    )
