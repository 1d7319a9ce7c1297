"""When a schedule fires next, with its time zone, its working days and its share of chance."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from tongqu.app.project.calendars import Works, calendar
from tongqu.app.project.schedules import CalendarEntry, ScheduleEntry, seconds

_DAYS_AHEAD = 3700
"""A calendar without a day in ten years has none."""


@dataclass(frozen=True)
class Timing:
    """The moments of a timed schedule, as seconds since 1970. Where clocks are set forward, what would fall into the
    gap comes right after it; where they are set back, a fixed time comes once; `every` counts real time."""

    entry: ScheduleEntry
    zone: tzinfo
    works: Works | None = None

    @classmethod
    def of(
        cls, entry: ScheduleEntry, calendars: Mapping[str, CalendarEntry], folder: Path, zone: str | None, here: tzinfo
    ) -> Timing:
        """A schedule with the calendars of its project; `zone` is the project's, `here` the machine's."""
        name = entry.timezone or zone
        works = calendar(entry.calendar, calendars, folder) if entry.calendar else None
        return cls(entry, ZoneInfo(name) if name else here, works)

    def after(self, moment: float) -> float | None:
        """The first moment later than this one; None if a clock does not start it, or there is none."""
        if self.entry.every:
            return self._every(moment)
        return next(self._ticks(moment), None) if self.entry.cron else None

    def between(self, first: float, now: float, most: int = 1000) -> list[float]:
        """All moments from `first`, itself one, to now, at most so many: the newest of them. However long ago that
        was, about as many moments are looked at as are given."""
        found = self._newest(first, now, most)
        return found if len(found) >= most else [first, *found]

    def _newest(self, since: float, until: float, most: int) -> list[float]:
        """The newest moments later than `since`, up to `until`, at most so many; there is at most one in a second."""
        if until - since <= most:
            few = [since]
            while (at := self.after(few[-1])) is not None and at <= until:
                few.append(at)
            return few[1:][-most:]
        first = self.after(since)
        if first is None or first > until:
            return []
        middle = (since + until) / 2
        found = self._newest(middle, until, most)
        return found if len(found) >= most else self._newest(since, middle, most - len(found)) + found

    def _every(self, moment: float) -> float | None:
        length = seconds(self.entry.every or "")
        at = (moment // length + 1) * length
        while self.works and not self.works(datetime.fromtimestamp(at, self.zone).date()):
            if at > moment + _DAYS_AHEAD * 86_400:
                return None
            day = datetime.fromtimestamp(at, self.zone).date() + timedelta(days=1)
            midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()
            at = -(-midnight // length) * length
        return at

    def _ticks(self, moment: float) -> Iterator[float]:
        from cronsim import CronSim, CronSimError

        begin = datetime.fromtimestamp(moment, self.zone)
        last = moment + _DAYS_AHEAD * 86_400
        try:
            for at in CronSim(self.entry.cron or "", begin):
                told = at.astimezone(UTC).timestamp()
                if told > last:
                    return
                if told > moment and (self.works is None or self.works(at.date())):
                    yield told
        except CronSimError:
            return


def local_zone() -> tzinfo:
    """The time zone of this machine, with its changes."""
    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, key=os.environ.get("TZ") or "localtime")
    except (OSError, ValueError):
        return UTC
