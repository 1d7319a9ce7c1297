"""How a connection is written to call by call: the settings that connectors over remote systems embed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from tongqu.core.settings import Settings, titled


class Manner(Settings):
    """How rows become calls, and what happens to calls whose outcome nobody knows."""

    @model_validator(mode="after")
    def _one_grouping(self) -> Self:
        if self.group and self.whole_calls:
            raise ValueError("group and whole_calls exclude each other")
        return self

    concurrency: int = titled("并发数", "Calls in flight", 4, ge=1, le=64)
    """Most calls in flight for one stream's part; calls for rows of the same key never overlap."""
    attempts: int = titled("尝试次数", "Attempts", 5, ge=1, le=20)
    """How often a call is made before the chunk is given up; the engine then tries the chunk again, later."""
    pause_seconds: float = titled("重试间隔(秒)", "Pause, seconds", 0.2, ge=0, le=60)
    """Pause before the second attempt; it doubles with each further one, up to 5 s."""
    unknown: Literal["quarantine", "repeat"] = titled("结果未知时", "Unknown outcome", "quarantine")
    """What happens to a call that may have had its effect, where the peer neither honours idempotency keys nor can be
    read back: `quarantine` sets the row aside with code `call.unknown`; `repeat` sends it again (at least once)."""
    skip_unchanged: bool = titled("跳过未变化的行", "Skip unchanged rows", True)
    """Do not send a row whose content is what the peer last accepted from this project; it counts as unchanged."""
    group: str = titled("成组列", "Group by column", "")
    """Rows with the same value of this column belong together: if the peer refuses one, the calls of the others that
    went through are undone and all of them are quarantined. Rows of a group that come apart (in another page
    of the source, or thousands of rows later) cannot be undone any more: what is quarantined tells how many stand."""
    whole_calls: bool = titled("整批成败", "Whole calls", False)
    """The rows of one call belong together as a group does: if the peer refuses one, the others of the call are undone
    and quarantined."""
    keep_calls: int = titled("保留调用数", "Calls kept", 100_000, ge=0)
    """How many settled calls the ledger keeps for each stream; the oldest are dropped when a run ends."""
