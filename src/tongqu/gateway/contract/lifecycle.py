"""The end of a version, told in time: Deprecation (RFC 9745), Sunset (RFC 8594), where to go, and 410 after it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from tongqu.gateway.exchange import Headers

if TYPE_CHECKING:
    from tongqu.gateway.entry import ApiEntry
    from tongqu.gateway.publication import Api

_DOCS = "/docs"


def headers(api: Api) -> Headers:
    """What every answer of the API tells about its end; nothing as long as none is planned."""
    entry = api.entry
    if entry.deprecated is None and entry.sunset is None:
        return []
    return list(_headers(api.name, entry.deprecated, entry.sunset, entry.successor))


def day(text: str) -> datetime:
    """The first moment of a day, UTC: when a version counts as deprecated, or answers no more."""
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)


def over(entry: ApiEntry, now: datetime) -> bool:
    """Whether the version has been withdrawn."""
    return entry.sunset is not None and day(entry.sunset) <= now


def http_date(text: str) -> str:
    """A day as HTTP writes instants."""
    return format_datetime(day(text), usegmt=True)


@lru_cache(maxsize=512)
def _headers(
    name: str, deprecated: str | None, sunset: str | None, successor: str | None
) -> tuple[tuple[str, str], ...]:
    told: list[tuple[str, str]] = []
    links: list[str] = []
    if deprecated is not None:
        told.append(("deprecation", f"@{int(day(deprecated).timestamp())}"))
        links.append(f'<{_DOCS}>; rel="deprecation"; type="text/html"')
    if sunset is not None:
        told.append(("sunset", http_date(sunset)))
        links.append(f'<{_DOCS}>; rel="sunset"; type="text/html"')
    if successor is not None:
        links.append(f'</api/{successor}/{name}>; rel="successor-version"')
    return (*told, ("link", ", ".join(links)))
