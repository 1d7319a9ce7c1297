"""Windows of event time: which windows an instant falls into, and when a window is over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import model_validator

from tongqu.core.arrow import pa
from tongqu.core.columns import need_columns
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.settings import Settings, titled

START, END = "window_start", "window_end"
"""The columns that tell a row's window; the end is not part of it."""
_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SPAN = re.compile(r"(\d+)\s*(ms|s|m|h|d)")


def micros(text: str) -> int:
    """Microseconds of a span: `500ms 30s 5m 2h 1d`; raises ValueError."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a span of time, such as 500ms, 30s, 5m, 2h, 1d")
    return int(found[1]) * _UNITS[found[2]]


class EventWindow(Settings):
    """Windows over a column of instants: `size` alone is tumbling, with `hop` hopping, `gap` alone makes sessions.

    Windows begin at multiples of their size (of `hop`) since 1970-01-01 UTC. A session goes on while each row comes
    less than `gap` after the one before. The watermark is the greatest instant that has come, less `lateness`; a window
    is over when the watermark has passed its end. In a run that reads all rows only the windows themselves matter.
    """

    on: str = titled("事件时间字段", "Event time")
    """The column with the instant at which it happened."""
    size: str = titled("窗口大小", "Size", "")
    """How long a window is: 30s, 1m, 2h, 1d."""
    hop: str = titled("滑动步长", "Hop", "")
    """How far one window begins after the other, if they overlap."""
    gap: str = titled("会话间隔", "Gap", "")
    """A session ends when so long nothing came."""
    lateness: str = titled("允许乱序", "Lateness", "0s")
    """How far rows may be behind the newest one."""
    late: Literal["quarantine", "drop", "update", "side"] = titled("迟到数据", "Late rows", "quarantine")
    """A row whose window is over: into quarantine as `window.late`, dropped (counted as filtered), the window is
    changed as long as it is kept (`update`), or the row goes to the side output, the sink that says `side: late`. A row
    of several windows that is late for some of them only counts in the others; it is in quarantine as
    `window.partly_late` then, or in the side output once for each window that it missed."""
    keep: str = titled("保留时长", "Keep", "0s")
    """With `late: update` or `side`: how long windows can be changed after they are over (Flink: allowed lateness)."""
    ahead: str = titled("允许超前", "Ahead", "")
    """Rows that are further in the future than so long ahead of our clock go to quarantine as `window.ahead`, so that a
    clock that is wrong cannot end all windows; instants without a zone are taken as UTC. Left out: any instant counts.
    """
    emit: Literal["changes", "final", "late"] = titled("输出", "Emit", "changes")
    """Each window with every change of it; once when nothing can change it any more; or, instead of windows, the rows
    that came too late, once for each window that they missed, with its columns (what a sink with `side: late` gets)."""

    @model_validator(mode="after")
    def _sound(self) -> EventWindow:
        if bool(self.size) == bool(self.gap):
            raise ValueError("a window has `size` (and maybe `hop`), or `gap` for sessions")
        if self.hop and (self.gap or not 0 < micros(self.hop) <= micros(self.size)):
            raise ValueError("`hop` is at most `size`, and sessions have none")
        if not micros(self.size or self.gap):
            raise ValueError("a window is longer than nothing")
        if bool(micros(self.keep)) and self.late not in ("update", "side"):
            raise ValueError("`keep` goes with `late: update` or `late: side`")
        if self.late == "update" and not micros(self.keep):
            raise ValueError("`keep` goes with `late: update`")
        if self.ahead and (self.late == "side" or self.emit == "late"):
            raise ValueError("`ahead` does not go with a side output: both would ask the clock, at other times")
        _ = micros(self.lateness), micros(self.ahead or "0s")
        return self

    @property
    def session(self) -> bool:
        """Whether windows are sessions."""
        return bool(self.gap)

    @property
    def held_for(self) -> int:
        """Microseconds that the watermark must have passed a window's end until nothing can change it."""
        return micros(self.keep) + (micros(self.gap) if self.session else 0)

    def fields(self, dataset: Dataset) -> list[pa.Field[Any]]:
        """The window's columns. Raises UnknownNameError or InvalidPlanError."""
        need_instants(dataset, self.on)
        made = pa.timestamp("us", dataset.schema.field(self.on).type.tz)
        return [pa.field(START, made), pa.field(END, made)]

    def spans(self, at: Any) -> tuple[Any, Any, Any]:
        """For instants (numpy, microseconds): the place of each row once for each of its windows, and where these begin
        and end; of sessions, that which the row makes alone."""
        import numpy as np

        if self.session:
            return np.arange(len(at)), at, at + micros(self.gap)
        places, starts = self.starts(at)
        return places, starts, starts + micros(self.size)

    def sql(self, relation: str, column: str, by: Sequence[str], zoned: bool) -> str:
        """The relation's rows, once for each of their windows, with the window's columns. `column` and `by` are quoted;
        rows without an instant are left out."""
        at = f"epoch_us({column})"
        made = "make_timestamptz" if zoned else "make_timestamp"
        rows = f"(SELECT *, {at} AS _tongqu_at FROM {relation} WHERE {column} IS NOT NULL)"
        if self.session:
            gap, part = micros(self.gap), f"PARTITION BY {', '.join(by)}" if by else ""
            first = f"_tongqu_at - lag(_tongqu_at) OVER ({part} ORDER BY _tongqu_at) >= {gap}"
            opened = f"(SELECT *, CASE WHEN {first} THEN 1 ELSE 0 END AS _tongqu_first FROM {rows})"
            number = f"sum(_tongqu_first) OVER ({part} ORDER BY _tongqu_at ROWS UNBOUNDED PRECEDING)"
            numbered = f"(SELECT *, {number} AS _tongqu_session FROM {opened})"
            within = f"PARTITION BY {', '.join([*by, '_tongqu_session'])}"
            start, end = f"min(_tongqu_at) OVER ({within})", f"max(_tongqu_at) OVER ({within}) + {gap}"
            return f"SELECT *, {made}({start}) AS {START}, {made}({end}) AS {END} FROM {numbered}"
        size, hop = micros(self.size), micros(self.hop or self.size)
        last = f"(_tongqu_at - ((_tongqu_at % {hop}) + {hop}) % {hop})"
        first = f"({last} - {hop} * (({last} - _tongqu_at + {size} - 1) // {hop}))"
        starts = f"(SELECT *, unnest(range({first}, {last} + 1, {hop})) AS _tongqu_from FROM {rows})"
        return f"SELECT *, {made}(_tongqu_from) AS {START}, {made}(_tongqu_from + {size}) AS {END} FROM {starts}"

    def starts(self, at: Any) -> tuple[Any, Any]:
        """For instants (numpy, microseconds): the place of each row once for each of its windows, and where these
        begin; not for sessions."""
        import numpy as np

        size, hop = micros(self.size), micros(self.hop or self.size)
        last = at - at % hop
        count = (last - at + size - 1) // hop + 1
        places = np.repeat(np.arange(len(at)), count)
        within = np.arange(len(places)) - np.repeat(np.cumsum(count) - count, count)
        return places, last[places] - within * hop


class TimeBound(Settings):
    """How far apart the rows of two inputs may be that belong together: the right's instant lies between the left's
    less `before` and the left's plus `after`. While logs are followed rows are kept no longer than that."""

    left: str = titled("左事件时间", "Left event time")
    """The left's column of instants."""
    right: str = titled("右事件时间", "Right event time")
    """The right's column of instants."""
    before: str = titled("最早", "Before", "0s")
    """How much earlier than the left's row the right's may be."""
    after: str = titled("最晚", "After", "0s")
    """How much later than the left's row the right's may be."""
    lateness: str = titled("允许乱序", "Lateness", "0s")
    """How far rows of an input may be behind the newest one of it; later ones go to quarantine as `window.late`."""
    idle: str = titled("空闲", "Idle", "1m")
    """An input without rows for so long does not hold the other back: it counts as being as far as that one."""

    @model_validator(mode="after")
    def _sound(self) -> TimeBound:
        for text in (self.before, self.after, self.lateness, self.idle):
            micros(text)
        return self

    def sql(self, left: str, right: str) -> str:
        """The condition over two columns."""
        first, second = f"epoch_us({left})", f"epoch_us({right})"
        return f"{second} BETWEEN {first} - {micros(self.before)} AND {first} + {micros(self.after)}"


class Expiry(Settings):
    """When kept keys are forgotten: when the newest row is so much later than theirs. A run that reads all rows forgets
    nothing."""

    on: str = titled("事件时间字段", "Event time")
    """The column with the instant."""
    after: str = titled("过期时长", "After")
    """How long a key is kept: 30s, 1h, 7d. An older row goes to quarantine as `window.late`."""

    @model_validator(mode="after")
    def _sound(self) -> Expiry:
        micros(self.after)
        return self


def need_instants(dataset: Dataset, name: str) -> None:
    """Raise UnknownNameError or InvalidPlanError unless the column has instants."""
    need_columns(dataset, [name])
    kind = dataset.schema.field(name).type
    if not pa.types.is_timestamp(kind):
        raise InvalidPlanError(f"the event time {name!r} is {kind}, no instant", hint="cast it to timestamp")
