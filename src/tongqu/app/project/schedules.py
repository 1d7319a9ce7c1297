"""What may stand under `schedule`, `calendars` and `run`: when things run, on which days, and how many at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names, Settings

_LENGTH = re.compile(r"(\d{1,6})\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORKDAYS = "workdays"
"""The calendar that is always there: working days of mainland China, with the days that are worked in exchange."""


def seconds(text: str) -> float:
    """How long `30s`, `5m`, `2h`, `1d` or `1w` is; raises ValueError."""
    found = _LENGTH.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no length of time: 30s, 5m, 2h, 1d, 1w")
    return float(int(found[1]) * _SECONDS[found[2]])


def cron(text: str) -> str:
    """The expression if it is a good one of 5 fields, or of 6 with seconds first; raises ValueError."""
    from cronsim import CronSim, CronSimError

    if len(text.split()) not in (5, 6):
        raise ValueError(f"{text!r} is no cron expression: 5 fields (minute hour day month weekday), or 6 with seconds")
    try:
        next(CronSim(text, datetime(2026, 1, 1)))  # noqa: DTZ001  a day like any other
    except (CronSimError, StopIteration) as error:
        told = str(error) or "it never comes"
        raise ValueError(f"{text!r} is no cron expression: {told[:1].lower()}{told[1:]}") from None
    return text


def zone(text: str) -> str:
    """The name if it is a time zone's; raises ValueError."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is no time zone: Asia/Shanghai, Europe/Berlin, UTC") from None
    return text


class OnFile(Settings):
    """A file that starts something when it is there and whole."""

    connection: str
    """A connection of the project that holds files."""
    pattern: str = "*"
    """Which files or datasets: a glob."""
    every: str = "30s"
    """How often it is looked: a file counts when it was the same at two looks."""

    @field_validator("every")
    @classmethod
    def _long(cls, value: str) -> str:
        seconds(value)
        return value


class ScheduleEntry(Settings):
    """When something runs: exactly one of `cron`, `every`, `after`, `on_file` and `on_event`."""

    shorthand: ClassVar[Mapping[str, Any]] = {"": {"type": "string", "description": "A cron expression."}}

    cron: str | None = None
    """A cron expression: `30 6 * * 1-5`; with 6 fields the first are seconds."""
    every: str | None = None
    """Again and again after so long: `90s`, `15m`, `2h`, `1d`."""
    after: Names = ()
    """Whenever a run of these pipelines that was a job has ended well."""
    on_file: OnFile | None = None
    """Whenever a file is new or has changed."""
    on_event: str | None = None
    """Whenever somebody tells of this event: `tongqu schedule event NAME`, or `POST /manage/events/NAME`."""
    timezone: str | None = None
    """Time zone of `cron` and `calendar` (default: `run.timezone`, else the machine's)."""
    calendar: str | None = None
    """Only on the days of this calendar: `workdays` (mainland China), or an entry of `calendars`."""
    jitter: str | None = None
    """Begin up to so much later, each time by chance, so that not everything begins at once."""
    priority: int = Field(default=0, ge=-100, le=100)
    """What has more goes first."""
    catch_up: Literal["none", "one", "all"] = "one"
    """What becomes of moments that were missed while nothing ran: nothing, one run for all, or a run for each."""
    retries: int = Field(default=3, ge=0, le=100)
    """How often a failure that may pass is tried again, after growing waits."""
    timeout: str | None = None
    """A run that takes longer is stopped in order, and counts as failed."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"cron": value} if isinstance(value, str) else value

    @field_validator("cron")
    @classmethod
    def _a_cron(cls, value: str | None) -> str | None:
        return value if value is None else cron(value)

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, value: str | None) -> str | None:
        return value if value is None else zone(value)

    @field_validator("every", "jitter", "timeout")
    @classmethod
    def _a_length(cls, value: str | None) -> str | None:
        if value is not None:
            seconds(value)
        return value

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        if len(self.triggers) != 1:
            told = ", ".join(self.triggers) or "none"
            raise ValueError(f"a schedule has exactly one of cron, every, after, on_file, on_event (got {told})")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        return {"anyOf": [{"type": "string"}, schema]}

    @property
    def triggers(self) -> list[str]:
        """What starts it."""
        return [name for name in ("cron", "every", "after", "on_file", "on_event") if getattr(self, name)]

    @property
    def told(self) -> str:
        """What starts it, in a few words."""
        [name] = self.triggers
        value = getattr(self, name)
        if isinstance(value, OnFile):
            value = f"{value.connection} {value.pattern}"
        shown = ", ".join(value) if isinstance(value, tuple) else str(value)
        return shown if name == "cron" else f"{name} {shown}"

    @property
    def timed(self) -> bool:
        """Whether a clock starts it."""
        return bool(self.cron or self.every)


class CalendarEntry(Settings):
    """Days on which things run."""

    based_on: Literal["workdays"] | None = None
    """Begin with the working days of mainland China, and change them by `holidays` and `workdays`."""
    weekdays: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ("mon", "tue", "wed", "thu", "fri")
    """Weekdays that count, unless it is based on another calendar."""
    holidays: list[date] = Field(default_factory=list)
    """Days that do not count."""
    workdays: list[date] = Field(default_factory=list)
    """Days that count although their weekday does not: those worked in exchange for a holiday (调休)."""
    file: str | None = None
    """A file of the project with one day a line: `2027-02-17 off`, `2027-02-20 work`; `#` begins a comment."""

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        both = sorted({*self.holidays} & {*self.workdays})
        if both:
            raise ValueError(f"{both[0]} is a holiday and a working day")
        return self


class Workers(Settings):
    """How many processes share one stream of messages, by how many wait."""

    min: int = Field(default=1, ge=1, le=64)
    """So many at least."""
    max: int = Field(default=1, ge=1, le=64)
    """So many at most; more than the topic has partitions are of no use."""
    backlog: int = Field(default=100_000, ge=1)
    """One more is begun while more messages than this wait, and one ends when less than a tenth of it do."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is more than max")
        return self


class RunEntry(Settings):
    """How `serve` and `worker` run things."""

    timezone: str | None = None
    """Time zone of schedules that name none (default: the machine's)."""
    store: str | None = None
    """Where jobs are kept: `postgresql://…` for processes on several hosts (default: a file in the project's home;
    `$TONGQU_STORE` goes before this)."""
    max_runs: int = Field(default=0, ge=0)
    """Runs at the same time, in all processes; 0: as many as there are hands."""
    connections: dict[str, int] = Field(default_factory=dict)
    """Runs at the same time that use a connection: `{erp: 2}`."""
    lease_seconds: float = Field(default=15, ge=1, le=600)
    """After so long without a sign of life a process's work is taken over."""
    workers: Workers | None = None
    """Streams of messages are shared by several processes: `{min: 1, max: 3, backlog: 100000}`."""
    keep_days: float = Field(default=180, gt=0)
    """How long jobs that are over are kept."""
    owner: str | None = None
    """The host that owns local files (DuckDB, SQLite, files), where several hosts share a store."""

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, value: str | None) -> str | None:
        return value if value is None else zone(value)

    @field_validator("store")
    @classmethod
    def _a_store(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://", "${")):
            raise ValueError("store: postgresql://…, or a reference to one; left out: a file in the project's home")
        return value


def days_of(text: str, path: str) -> Mapping[date, bool]:
    """The days that a calendar file names, with whether they are worked; raises InvalidSettingsError."""
    found: dict[date, bool] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if len(words) != 2 or words[1] not in ("off", "work"):
                raise ValueError
            found[date.fromisoformat(words[0])] = words[1] == "work"
        except ValueError:
            raise InvalidSettingsError(
                f"{line.strip()!r} is no day of a calendar", path=f"{path}:{number}", hint="2027-02-17 off, or work"
            ) from None
    return found
