"""What has changed since the last time: an instant as an API wants to be asked for it, and rows between two."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import field_validator

from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.core.kernels import pc
from tongqu.core.settings import Settings, titled

NAMED = ("iso", "date", "epoch", "epoch_ms", "plain")


class IncrementalSettings(Settings):
    """How an API is asked for what has changed."""

    cursor: str = titled("游标字段", "Cursor")
    """The field that grows with every change: a time of change or a number."""
    param: str = titled("参数", "Parameter", "")
    """The parameter that takes the least value wanted. Left out: the API cannot be asked, all records are read and
    older ones dropped here."""
    until_param: str = titled("上限参数", "Upper parameter", "")
    """The parameter that takes the greatest value wanted, if there is one."""
    format: str = titled("格式", "Format", "iso")
    """How the parameter is written: `iso` (2026-01-31T08:00:00Z), `date`, `epoch` (seconds), `epoch_ms`, `plain` (as
    the field is), or a pattern such as `%Y-%m-%d %H:%M:%S`."""
    timezone: str = titled("时区", "Time zone", "UTC")
    """Of parameters without a zone, and of the field where its values have none."""
    overlap_seconds: float = titled("重叠(秒)", "Overlap, seconds", 0.0, ge=0)
    """How far before the last position a read begins, for records that appear late; read again, they merge by key."""
    lag_seconds: float = titled("滞后(秒)", "Lag, seconds", 5.0, ge=0)
    """How far a read stays behind the API's clock, so that records still being written there are not missed."""
    latest: Literal["clock", "scan"] | None = titled("最新值", "Latest", None)
    """How the upper end is found: the API's `clock` for times, or a `scan` of the changed records, which reads them
    twice. Left out: by the field's type."""

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone; write for example Asia/Shanghai") from None
        return value

    @field_validator("format")
    @classmethod
    def _pattern(cls, value: str) -> str:
        if value not in NAMED and "%" not in value:
            raise ValueError(f"must be one of {', '.join(NAMED)}, or a pattern with %")
        return value


class Cursor:
    """One cursor field: its values in positions, in parameters and in rows."""

    def __init__(self, settings: IncrementalSettings, kind: pa.DataType):
        self.settings = settings
        self._kind = kind
        self._zone = ZoneInfo(settings.timezone)
        self.is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
        if not (self.is_time or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_string(kind)):
            raise InvalidPlanError(
                f"{settings.cursor!r} is {kind}, which cannot order changes", hint="use a time or number, or mode full"
            )

    @property
    def scans(self) -> bool:
        """Whether the upper end must be looked for among the records."""
        return (self.settings.latest or ("clock" if self.is_time else "scan")) == "scan" or not self.is_time

    def upper(self, clock: str | None, *, ties: bool) -> Any:
        """The position's value for now, less the lag, by the API's clock (a Date header) or ours. Without `ties` what
        may still grow in the running second, or day, is left for the next time."""
        now = parsedate_to_datetime(clock) if clock else datetime.now(UTC)
        lag = timedelta(seconds=self.settings.lag_seconds)
        if not ties:
            lag = max(lag, timedelta(days=1) if pa.types.is_date(self._kind) else timedelta(seconds=1))
        return self.stored(now - lag)

    def stored(self, value: Any) -> Any:
        """A value as positions keep it: texts of times, plain numbers and texts."""
        if isinstance(value, datetime):
            if pa.types.is_date(self._kind):
                return value.astimezone(self._zone).date().isoformat()
            zoned = isinstance(self._kind, pa.TimestampType) and self._kind.tz is not None
            if value.tzinfo is not None:
                value = value.astimezone(UTC) if zoned else value.astimezone(self._zone).replace(tzinfo=None)
            return value.isoformat()
        return value.isoformat() if isinstance(value, date) else value if isinstance(value, int) else str(value)

    def value(self, stored: Any) -> Any:
        """The opposite of `stored`, as an Arrow scalar of the field's type."""
        text = pa.scalar(str(stored))
        return pc.cast(text, self._kind) if not pa.types.is_string(self._kind) else text

    def lower(self, stored: Any, *, ties: bool) -> Any:
        """Where a read after this position begins: earlier by the overlap, where rows may come twice."""
        if not ties or not self.settings.overlap_seconds or not self.is_time:
            return stored
        moment = datetime.fromisoformat(stored) - timedelta(seconds=self.settings.overlap_seconds)
        return moment.date().isoformat() if pa.types.is_date(self._kind) else moment.isoformat()

    def parameter(self, stored: Any, *, up: bool = False) -> str:
        """The value as the API wants it, rounded down, or up for an upper end, so that nothing is missed."""
        settings = self.settings
        if not self.is_time or settings.format == "plain":
            return str(stored)
        moment = datetime.fromisoformat(stored)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        if up and settings.format == "date":
            moment += timedelta(days=1)
        elif up and settings.format not in ("iso", "epoch_ms"):
            moment += timedelta(seconds=1)
        if settings.format == "epoch":
            return str(int(moment.timestamp()))
        if settings.format == "epoch_ms":
            return str(int(moment.timestamp() * 1000) + up)
        local = moment.astimezone(self._zone)
        if settings.format == "date":
            return local.date().isoformat()
        if settings.format == "iso":
            return local.isoformat().replace("+00:00", "Z")
        return local.strftime(settings.format)

    def between(self, rows: pa.RecordBatch, after: Any, until: Any, *, ties: bool) -> Any:
        """A mask of the rows in a range: above `after` (or equal, with `ties`), not above `until`. Raises SchemaError
        for rows that have no cursor."""
        column = self._column(rows)
        mask = pc.is_valid(column) if until is None else pc.less_equal(column, self.value(until))
        if after is not None:
            above = pc.greater_equal if ties else pc.greater
            mask = pc.and_(mask, above(column, self.value(after)))
        return mask

    def greatest(self, rows: pa.RecordBatch) -> Any:
        """The greatest value among these rows, as positions keep it; None if there are none."""
        found = pc.max(self._column(rows)).as_py()
        return None if found is None else self.stored(found)

    def greater(self, one: Any, other: Any) -> bool:
        """Whether a stored value is above another one."""
        return bool(pc.greater(self.value(one), self.value(other)).as_py())

    def _column(self, rows: pa.RecordBatch) -> Any:
        column = rows.column(self.settings.cursor)
        if column.null_count:
            raise SchemaError(
                f"{column.null_count} records have no {self.settings.cursor!r} and would never be read",
                field=self.settings.cursor, hint="choose another cursor, or mode full",
            )  # fmt: skip
        return column
