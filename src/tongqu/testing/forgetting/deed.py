"""A deed: what is done on a disk that forgets, what is told of it, and what must hold when power is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Tell = Callable[[str], None]
"""Called when somebody is told that something is done."""


@dataclass(frozen=True)
class Deed:
    """`do` works in a folder of the disk and tells what it has promised; `check` works in what a loss of power left of
    that folder, and says what is wrong. `outside` is a folder on another disk, for sources."""

    do: Callable[[Path, Path, Tell], None]
    check: Callable[[Path, Path, Sequence[str]], list[str]]
