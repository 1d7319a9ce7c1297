"""Settings of a Singer target."""

from __future__ import annotations

import re
from typing import Self

from pydantic import model_validator

from tongqu.core.settings import titled
from tongqu.kit.foreign.settings import ForeignSettings
from tongqu.kit.foreign.settings import from_url as parsed
from tongqu.kit.remote.manner import Manner

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class TargetSettings(ForeignSettings):
    """A target that was installed by `tongqu connectors install`."""

    target: str = titled("写入程序", "Target")
    """Name of the target's program: `target-jsonl`."""
    rows: int = titled("每次行数", "Rows at once", 50_000, ge=1)
    """Most rows that one run of the program is given; it is started anew for each."""
    calls: Manner = titled("调用", "Calls", Manner(concurrency=1))
    """How runs of the program are repeated, and what happens to rows whose outcome nobody knows."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not _PROGRAM.fullmatch(self.target):
            raise ValueError("target: the name of a program, without folder")
        if self.calls.group:
            raise ValueError("calls.group: a target takes nothing back")
        return self

    @property
    def program(self) -> str:
        """See ForeignSettings.program."""
        return self.target

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"singer-target:{super().identity()}"


def from_url(url: str) -> TargetSettings:
    """`singer-target:target-jsonl?config.destination_path=/data`; see `kit.foreign.settings`."""
    return parsed(TargetSettings, url, "target")
