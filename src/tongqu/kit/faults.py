"""Crash points: named places where a run can be made to die (`TONGQU_CRASH_AT=point[:n]`), or to fall asleep as on a
machine that is suspended (`TONGQU_SLEEP_AT=point[:n]`); inert unless one of these is set."""

from __future__ import annotations

import os
import signal

from tongqu.core.errors import InvalidSettingsError

POINTS: dict[str, str] = {
    "after_join": "a worker has taken a split of another process's run, and moved nothing of it",
    "after_open": "the fence is taken, no split is stored yet",
    "after_begin": "splits are stored, no row is written",
    "after_read": "a chunk was read from the source, nothing written",
    "mid_write": "part of a chunk is in the sink's open transaction",
    "before_commit": "all of a chunk is in the open transaction",
    "in_commit": "checkpoint row written, transaction not committed",
    "after_commit": "data and checkpoint are committed, source not told",
    "after_acknowledge": "the source was told",
    "before_finish": "all splits are done, nothing is visible yet",
    "in_finish": "keys are built, the swap or merge is not committed",
    "after_swap": "rows are visible, the run is not marked finished",
    "after_finish": "the run is marked finished, nothing was printed",
    "before_call": "a call to a system without transactions is noted, and not made",
    "after_call": "the system has carried the call out, and its outcome is not noted",
    "in_undo": "the kept generation is put back, not committed where the system has transactions for that",
    "before_state": "what a chunk changes in what steps keep is in the state's open transaction",
    "after_state": "the state has its new version, the sink has nothing of it",
    "after_loss": "following: that a table is lost is stored, its stream is not told as failed",
    "after_rejoin": "following: where a table that is read anew joins its log is stored, none of its rows is read",
    "before_append": "queue: what a group of appenders wants is in the open transaction",
    "after_append": "queue: it is on disk, and no appender was told",
    "after_intent": "two-way: what will be written is noted, and nothing is written",
    "after_side": "two-way: one side has committed its writes, and that is not noted",
    "before_undo": "two-way: a side refused a row, and what another took of it is not taken back yet",
    "before_agreed": "two-way: all sides are written, and what they agreed on is not noted",
    "after_new_key": "secrets: the new key is in the key file, nothing is under it yet",
    "mid_rotation": "secrets: some data keys or secrets are under the new key, others under the old one",
    "before_retire": "secrets: everything is under the new keys, the old ones are still there",
    "in_retire": "secrets: the old data keys are gone, the old key is still in the key file",
}
"""Every crash point and what has happened when it is reached."""

_SIGNALS = {"TONGQU_CRASH_AT": signal.SIGKILL, "TONGQU_SLEEP_AT": signal.SIGSTOP}
_armed: dict[str, dict[str, int]] = {}


def _arm(variable: str) -> None:
    value = os.environ.get(variable, "")
    if value:
        point, _, count = value.partition(":")
        if point not in POINTS:
            raise _refused(f"unknown crash point {point!r}", variable)
        if count and not (count.isdigit() and int(count) > 0):
            raise _refused(f"the count after the crash point must be a number from 1 (got {count!r})", variable)
        _armed.setdefault(point, {})[variable] = int(count or 1)


def _refused(message: str, variable: str) -> InvalidSettingsError:
    return InvalidSettingsError(message, path=variable, hint=f"point[:n], valid points: {', '.join(POINTS)}")


for _variable in _SIGNALS:
    _arm(_variable)


def crash_point(name: str) -> None:
    """Die here with SIGKILL, as a power cut would, or be stopped here until SIGCONT, if this point is armed and reached
    for the n-th time."""
    for variable in _armed.get(name, ()):
        _armed[name][variable] -= 1
        if _armed[name][variable] == 0:
            os.kill(os.getpid(), _SIGNALS[variable])
