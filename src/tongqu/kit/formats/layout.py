"""Where the columns of a fixed width file stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tongqu.core.errors import InvalidSettingsError

Counted = Literal["bytes", "characters"]


@dataclass(frozen=True)
class FixedColumn:
    """One column: its first place (from 1), its width, and at which side its values stand (numbers: right)."""

    name: str
    start: int
    width: int
    type: str = ""
    align: Literal["left", "right", ""] = ""

    @property
    def stop(self) -> int:
        """The place after it, counted from 0."""
        return self.start - 1 + self.width


def checked(columns: Sequence[FixedColumn], path: str = "layout") -> tuple[FixedColumn, ...]:
    """The columns in order of place; raises InvalidSettingsError where two share a place or a name."""
    ordered = tuple(sorted(columns, key=lambda column: column.start))
    for one, other in pairwise(ordered):
        if one.stop > other.start - 1:
            raise InvalidSettingsError(
                f"the columns {one.name!r} ({one.start}-{one.stop}) and {other.name!r} (from {other.start}) overlap",
                path=path,
            )
    names = [column.name for column in ordered]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidSettingsError(f"two columns are called {twice!r}", path=path)
    return ordered
