"""Runs the command line in a process of its own, kills it at crash points, and chooses which combinations to try."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: killed by that signal) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether a crash point, or somebody else, sent SIGKILL."""
        return self.code == -signal.SIGKILL

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout; fails with both outputs if there is none."""
        try:
            found: dict[str, Any] = json.loads(self.out)
        except ValueError:
            pytest.fail(f"no document, exit {self.code}\n{self.out}\n{self.err}")
        return found

    def stream(self, name: str) -> dict[str, Any]:
        """One stream of the document."""
        streams = self.document.get("streams", [])
        found: dict[str, Any] | None = next((s for s in streams if s["name"] == name), None)
        assert found is not None, f"no stream {name!r}, exit {self.code}\n{self.out}\n{self.err}"
        return found


@dataclass(frozen=True)
class Command:
    """`tongqu` with arguments, run in processes that keep their run store in `home`."""

    home: Path
    arguments: Sequence[str]

    def start(self, **environ: str) -> subprocess.Popen[str]:
        """The running process; nothing of the caller's crash points reaches it."""
        inherited = {k: v for k, v in os.environ.items() if k != "TONGQU_CRASH_AT"}
        return subprocess.Popen(
            [sys.executable, "-m", "tongqu", *self.arguments, "--json", "--lang", "en"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**inherited, "TONGQU_HOME": str(self.home), **environ},
        )

    def run(self, *, crash_at: str = "", seconds: float = SECONDS) -> Ended:
        """Run to the end, or to a crash point (`before_commit:3`)."""
        with self.start(**({"TONGQU_CRASH_AT": crash_at} if crash_at else {})) as process:
            return ended(process, seconds)


def ended(process: subprocess.Popen[str], seconds: float = SECONDS) -> Ended:
    """Wait for a started command; one that does not end in time is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the command did not end in {seconds:.0f} s\n{out}\n{err}")
    return Ended(process.returncode, out, err)


Cell = Mapping[str, str]


def cells(factors: Mapping[str, Sequence[str]], allowed: Callable[[Cell], bool]) -> Iterator[dict[str, str]]:
    """Every allowed combination of the factors' values."""
    for values in product(*factors.values()):
        cell = dict(zip(factors, values, strict=True))
        if allowed(cell):
            yield cell


def name_of(cell: Cell) -> str:
    """A cell as the name of a test."""
    return "-".join(cell.values())


def covering(factors: Mapping[str, Sequence[str]], allowed: Callable[[Cell], bool]) -> list[dict[str, str]]:
    """Few allowed combinations in which every possible pair of values of two factors occurs (greedy, deterministic)."""
    every = list(cells(factors, allowed))
    pairs = {cell_number: _pairs(cell) for cell_number, cell in enumerate(every)}
    missing = set().union(*pairs.values()) if pairs else set()
    chosen = []
    while missing:
        best = max(pairs, key=lambda number: (len(pairs[number] & missing), -number))
        missing -= pairs.pop(best)
        chosen.append(every[best])
    return chosen


def _pairs(cell: Cell) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return set(combinations(sorted(cell.items()), 2))
