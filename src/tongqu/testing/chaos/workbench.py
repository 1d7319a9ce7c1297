"""Does a deed once on a disk that forgets, and then loses power at many of its moments, each in its own way."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tongqu.testing.forgetting.disk import HOWS, How
from tongqu.testing.services.forgetting_disk import ForgettingDisk


@dataclass(frozen=True)
class Proof:
    """What became of a deed: how many moments were gone back to, and what was wrong after which of them."""

    deed: str
    steps: int
    told: int
    moments: int
    wrong: Sequence[str]


def survivors(deed: str) -> tuple[How, ...]:
    """What may be left of it so that it must survive. DuckDB (2.0) writes a block of 256 KiB in place before the header
    that makes it count, so a block of which only some pages are left makes the file unreadable, and says so."""
    return tuple(how for how in HOWS if how != "torn" or "duckdb" not in deed)


class Workbench:
    """A disk, and a program inside that does deeds and checks what is left of them. Use it as a context."""

    def __enter__(self) -> Self:
        self._outside = tempfile.TemporaryDirectory(prefix="tongqu-outside-")
        self.disk = ForgettingDisk()
        self._log = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-m", "tongqu.testing.forgetting", str(self.disk.mounted), self._outside.name]
        self._worker = subprocess.Popen(
            self.disk.inside(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._hear()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.close()
        self._worker.stdout.close()
        self._worker.kill()
        self._worker.wait(30)
        self._log.close()
        self.disk.close()
        self._outside.cleanup()

    def prove(self, deed: str, moments: int, seed: int, hows: Sequence[How] = HOWS) -> Proof:
        """Do it on an empty disk, and lose power at so many of its moments, drawn by the seed."""
        self.disk.empty()
        if failed := self._ask(deed, None):
            return Proof(deed, 0, 0, 0, failed)
        recording = self.disk.record()
        wrong: list[str] = []
        drawn = recording.moments(moments, seed)
        for number, at in enumerate(drawn):
            how, own = hows[(number + seed) % len(hows)], seed * 1000 + number
            recording.go_back(at, how, own)
            told = recording.told(at)
            wrong += [f"{deed} at {at} of {recording.length}, {how} left (seed {own}), {len(told)} told: {one}"
                      for one in self._ask(deed, told)]  # fmt: skip
        return Proof(deed, recording.length, len(recording.marks), len(drawn), wrong)

    def prove_failing(self, deed: str, sync: int) -> Proof:
        """Do it where the so-manieth sync fails, which may end it, and then lose power: what was told is there."""
        self.disk.empty()
        self.disk.fail_sync(sync)
        stopped = self._ask(deed, None)
        recording = self.disk.record()
        recording.go_back(recording.length, "nothing")
        told = recording.told(recording.length)
        wrong = [f"{deed}, sync {sync} failed ({stopped}), {len(told)} told: {one}" for one in self._ask(deed, told)]
        return Proof(deed, recording.length, len(told), 1, wrong)

    def _ask(self, deed: str, told: Sequence[str] | None) -> list[str]:
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps({"deed": deed, "told": told}) + "\n")
        self._worker.stdin.flush()
        found: list[str] = json.loads(self._hear())
        return found

    def _hear(self) -> Any:
        assert self._worker.stdout is not None
        said = self._worker.stdout.readline()
        if not said:
            self._log.seek(0)
            raise RuntimeError(f"the worker ended: {self._log.read()[-3000:]}")
        return said
