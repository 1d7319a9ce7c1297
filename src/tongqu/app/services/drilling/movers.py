"""The processes of a drill that move rows: `tongqu sync` in children that faults befall."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEGABYTE = 1 << 20


@dataclass
class Mover:
    """One child. `end` waits for it and reads what it said."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    peak: int = 0
    """The most memory it was seen with, in bytes."""
    stopped: bool = False
    """Whether it was told to stop: the second time would be to quit at once."""

    @property
    def running(self) -> bool:
        """Whether it lives."""
        with suppress(OSError, ValueError, IndexError):
            lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
            found = next((line for line in lines if line.startswith("VmHWM")), "VmHWM 0")
            self.peak = max(self.peak, int(found.split()[1]) * 1024)
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; harmless when it has ended."""
        if number == signal.SIGTERM and self.stopped:
            return
        self.stopped = self.stopped or number == signal.SIGTERM
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self, seconds: float) -> tuple[int, dict[str, Any]]:
        """Its exit code and document (empty where it said none); killed if it does not end in time."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            code = self.process.wait()
        try:
            document = json.loads(self.out.read_text(encoding="utf-8"))
        except ValueError:
            document = {}
        return code, document


@dataclass
class Movers:
    """Begins children for one source and target. `environ` has what the URLs refer to."""

    folder: Path
    source: str
    sink: str
    tables: Sequence[str]
    mode: str
    write: str
    environ: Mapping[str, str]
    started: list[Mover] = field(default_factory=list)

    def start(self, *, crash_at: str = "", catch_up: bool = False) -> Mover:
        """Begin one; it dies at a crash point if one is given."""
        number = len(self.started)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        words = ["sync", self.source, self.sink, "--mode", self.mode, "--write", self.write, "--json", "--lang", "en"]
        words += [word for table in self.tables for word in ("--table", table)]
        words += ["--project", str(self.folder), "--max-quarantined", "100%"]
        words += ["--cursor", "ver"] if self.mode == "incremental" else []
        words += ["--until-caught-up"] if catch_up and self.mode == "cdc" else []
        kept = {name: value for name, value in os.environ.items() if name != "TONGQU_CRASH_AT"}
        armed = {"TONGQU_CRASH_AT": crash_at} if crash_at else {}
        home = {"TONGQU_HOME": str(self.folder / "home")}
        with out.open("wb") as told, err.open("wb") as said:
            process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "tongqu", *words],
                stdin=subprocess.DEVNULL, stdout=told, stderr=said, env={**kept, **self.environ, **home, **armed},
            )  # fmt: skip
        mover = Mover(process, out, err)
        self.started.append(mover)
        return mover

    def close(self) -> None:
        """End all that live."""
        for mover in self.started:
            if mover.process.poll() is None:
                mover.send(signal.SIGKILL)
                mover.process.wait()
