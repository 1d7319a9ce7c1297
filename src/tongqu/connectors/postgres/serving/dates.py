"""Dates and instants that Python has not (infinity, before year 1, after 9999) as the texts of PostgreSQL's JSON."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

_TEXT = re.compile(
    r"(?P<year>\d{4,7})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<part>\d{1,6}))?(?:\+00(?::?00)?|Z)?)?(?P<bc> BC)?"
)
_EPOCH = date(2000, 1, 1).toordinal()
_CIVIL = 730_425
"""Days from 0000-03-01 to 2000-01-01."""
_DAY = 86_400_000_000
_START = datetime(2000, 1, 1)  # noqa: DTZ001  # of timestamps without a zone
_START_UTC = datetime(2000, 1, 1, tzinfo=UTC)
_WORDS = {"infinity": 1, "+infinity": 1, "-infinity": -1}


async def teach(connection: Any) -> None:
    """Give an asyncpg connection these values, in rows and parameters: dates and datetimes, and texts where Python has
    none."""
    for name, encoder, decoder in (
        ("date", _day_out, _day_in),
        ("timestamp", _moment_out, lambda given: _moment_in(given[0], _START, "")),
        ("timestamptz", _moment_out, lambda given: _moment_in(given[0], _START_UTC, "+00:00")),
    ):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="tuple")


def odd(text: str) -> str:
    """The text if it is a date or instant that only PostgreSQL has; else ValueError."""
    bare = text.strip()
    if bare.lower() not in _WORDS:
        _days(_parts(bare))
    return bare


def _parts(text: str) -> re.Match[str]:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("no date")
    return found


def _days(found: re.Match[str]) -> int:
    """Days since 2000-01-01 in the proleptic Gregorian calendar: years counted from March, as in Fliegel and Van
    Flandern (1968), so that the leap day stands last."""
    month, day = int(found["month"]), int(found["day"])
    year = 1 - int(found["year"]) if found["bc"] else int(found["year"])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= longest[month - 1]) or not int(found["year"]):
        raise ValueError("no date")
    march, months = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return 365 * march + march // 4 - march // 100 + march // 400 + (153 * months + 2) // 5 + day - 1 - _CIVIL


def _civil(days: int) -> tuple[str, str]:
    """The date so many days after 2000-01-01 as text, and ` BC` if it is before the year 1."""
    era, within = divmod(days + _CIVIL, 146_097)
    year = (within - within // 1460 + within // 36_524 - within // 146_096) // 365
    rest = within - (365 * year + year // 4 - year // 100)
    months = (5 * rest + 2) // 153
    day, month = rest - (153 * months + 2) // 5 + 1, months + 3 if months < 10 else months - 9
    year += 400 * era + (month <= 2)
    return f"{year if year > 0 else 1 - year:04}-{month:02}-{day:02}", "" if year > 0 else " BC"


def _day_in(given: tuple[int]) -> date | str:
    days = given[0]
    if abs(days) >= 2**31 - 1:
        return "infinity" if days > 0 else "-infinity"
    try:
        return date.fromordinal(days + _EPOCH)
    except (ValueError, OverflowError):
        return "".join(_civil(days))


def _day_out(value: Any) -> tuple[int]:
    if isinstance(value, str):
        word = _WORDS.get(value.lower())
        return (_days(_parts(value)),) if word is None else (2**31 - 1 if word > 0 else -(2**31),)
    return (value.toordinal() - _EPOCH,)


def _moment_in(given: int, start: datetime, zone: str) -> datetime | str:
    if abs(given) >= 2**63 - 1:
        return "infinity" if given > 0 else "-infinity"
    try:
        return start + timedelta(microseconds=given)
    except OverflowError:
        days, rest = divmod(given, _DAY)
    day, bc = _civil(days)
    seconds, part = divmod(rest, 1_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{day}T{clock}{f'.{part:06}'.rstrip('0') if part else ''}{zone}{bc}"


def _moment_out(value: Any) -> tuple[int]:
    if not isinstance(value, str):
        return ((value - (_START_UTC if value.tzinfo else _START)) // timedelta(microseconds=1),)
    word = _WORDS.get(value.lower())
    if word is not None:
        return (2**63 - 1 if word > 0 else -(2**63),)
    found = _parts(value)
    clock = int(found["hour"] or 0) * 3600 + int(found["minute"] or 0) * 60 + int(found["second"] or 0)
    return (_days(found) * _DAY + clock * 1_000_000 + int((found["part"] or "").ljust(6, "0")),)
