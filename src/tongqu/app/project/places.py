"""Where every key of the project stands: file and line, so that an error can point at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu.core.errors import ConfigError, TongquError

if TYPE_CHECKING:
    from tongqu.core.operator import Step

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """A place in a file; lines count from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"


@dataclass
class Places:
    """Marks by key path (`("pipelines", "p", "steps", 0)`)."""

    marks: dict[Key, Mark] = field(default_factory=dict)
    folder: Path = Path()
    """The project's folder, which relative files in it start from."""
    steps: dict[str, tuple[object, Sequence[Step]]] = field(default_factory=dict, repr=False, compare=False)
    """Each valid pipeline's entry with its steps, as the check of the files parsed them."""
    _dotted: dict[str, Mark] = field(default_factory=dict, repr=False, compare=False)

    def of(self, key: Key) -> Mark | None:
        """The mark of the key, or of the nearest key above it that has one."""
        for end in range(len(key), -1, -1):
            if key[:end] in self.marks:
                return self.marks[key[:end]]
        return None

    def located(self, dotted: str) -> str:
        """`file:line:` put before a dotted path as an error carries it, by its longest part that has a mark; a path
        that has them stays."""
        if re.match(r"[^:]+:\d+:", dotted):
            return dotted
        if len(self._dotted) != len(self.marks):
            self._dotted = {dotted_path(key): mark for key, mark in self.marks.items()}
        known = self._dotted
        part = dotted
        while part and part not in known:
            part = part[: max(part.rfind("."), part.rfind("["), 0)]
        mark = known.get(part)
        return f"{mark}:{dotted}" if mark else dotted

    def path(self, key: Key) -> str:
        """`file:line:key.path` as errors show it."""
        mark = self.of(key)
        dotted = dotted_path(key)
        return f"{mark}:{dotted}" if mark else dotted


def dotted_path(key: Key) -> str:
    """`("steps", 0, "filter")` as `steps[0].filter`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


class ProblemsError(ConfigError):
    """Several things are wrong with the project; `problems` are all of them, the first speaks for the rest."""

    def __init__(self, problems: Sequence[TongquError]):
        first = problems[0]
        super().__init__(first.message, hint=first.hint, path=first.path, params=first.params)
        self.problems = tuple(problems)


def nearest(name: str, valid: Sequence[str], *, most: int = 20) -> str:
    """A hint for a name that does not exist: the nearest one, then the valid ones."""
    near = get_close_matches(name, valid, n=1, cutoff=0.6)
    listed = ", ".join(sorted(valid)[:most]) + (" …" if len(valid) > most else "")
    if not listed:
        return "there are none yet"
    return f"did you mean {near[0]!r}? valid: {listed}" if near else f"valid: {listed}"
