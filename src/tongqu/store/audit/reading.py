"""Reads the audit trail: the newest records first, by who, what, API, client, status and time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tongqu.core.errors import AuditError
from tongqu.store.audit.chain import Place, lines
from tongqu.store.audit.line import Link, first

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Wanted:
    """Which records: each text that is not empty must be equal; `since` and `until` are RFC 3339 in UTC, `until` is
    excluded; `outcome` is a status (`200`), its class (`4xx`) or the outcome of an action (`done`)."""

    kind: str = ""
    who: str = ""
    api: str = ""
    version: str = ""
    outcome: str = ""
    what: str = ""
    since: str = ""
    until: str = ""

    def holds(self, record: Mapping[str, Any]) -> bool:
        """Whether it is one of them."""
        named = ((self.kind, "kind"), (self.who, "who"), (self.api, "api"), (self.version, "version"),
                 (self.what, "what"))  # fmt: skip
        if any(value and record.get(name) != value for value, name in named):
            return False
        at = record.get("at", "")
        if (self.since and at < self.since) or (self.until and at >= self.until):
            return False
        told = str(record.get("outcome", ""))
        wanted = f"{told[:1]}xx" if self.outcome.endswith("xx") else told
        return not self.outcome or wanted == self.outcome

    @property
    def marks(self) -> tuple[bytes, ...]:
        """Bytes that stand in the line of every such record; those who look for them parse far fewer lines."""
        named = (("kind", self.kind), ("who", self.who), ("api", self.api))
        return tuple(f'"{name}":{json.dumps(value, ensure_ascii=False)}'.encode() for name, value in named if value)


class Last(NamedTuple):
    """The last whole record of a chain and when it was made."""

    link: Link
    at: str


def newest(place: Place, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """The newest records first, at most `limit`. They are not verified; see `verify`."""
    found: list[dict[str, Any]] = []
    for day in reversed(place.days()):
        if (wanted.since and day < wanted.since[:10]) or len(found) >= limit:
            break
        if wanted.until and day > wanted.until[:10]:
            continue
        today: list[dict[str, Any]] = []
        for path in (place.folder / day).glob("*.log"):
            today += _of_file(path, wanted, limit)
        today.sort(key=lambda record: str(record.get("at", "")), reverse=True)
        found += today
    return found[:limit]


def every(place: Place, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """All such records, day by day and chain by chain, oldest first within a chain."""
    for day in place.days():
        if (wanted.since and day < wanted.since[:10]) or (wanted.until and day > wanted.until[:10]):
            continue
        for path in sorted((place.folder / day).glob("*.log")):
            with path.open("rb") as stream:
                for text in stream:
                    record = _record(text.rstrip(b"\n"), path.stem, wanted)
                    if record:
                        yield record


def last_of(place: Place, chain: str) -> Last:
    """The last whole record of a chain, as far as it is right; raises AuditError if a line is wrong."""
    try:
        head = place.read_head(chain)
    except ValueError:
        raise AuditError(f"the head of {chain} was changed", hint="tongqu audit verify") from None
    link, at = (head.link, "") if head else (first(chain, place.scheme), "")
    day, offset = (head.day, head.size) if head and head.day != "-" else ("", 0)
    for _, _, line in lines(place, chain, link, day=day, offset=offset):
        link, at = line.link, str(line.record.get("at", ""))
    if not at:
        found = place.segments(chain)
        with suppress(StopIteration):
            at = str(next(_backwards(found[-1][1]))[1].get("at", "")) if found else ""
    return Last(link, at)


def day_ends(place: Place, chain: str, days: Sequence[str]) -> list[Link]:
    """The last link of a chain in each of the days that it has records of."""
    found = []
    for day, path in place.segments(chain):
        if day in days and (text := next((text for text, _ in _backwards(path, parse=False)), b"")):
            parts = text.split(b" ", 3)
            found.append(Link(int(parts[1]), parts[2].decode()))
    return found


def _of_file(path: Path, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for text, _ in _backwards(path, parse=False):
        record = _record(text, path.stem, wanted)
        if record:
            found.append(record)
            if len(found) >= limit:
                break
        elif wanted.since and b'"at":"' in text and _at(text) < wanted.since:
            break
    return found


def _at(text: bytes) -> str:
    return text.partition(b'"at":"')[2][:24].decode("ascii", "replace")


def _record(text: bytes, chain: str, wanted: Wanted) -> dict[str, Any] | None:
    if any(mark not in text for mark in wanted.marks):
        return None
    parts = text.split(b" ", 4)
    try:
        record = json.loads(parts[4])
        seq = int(parts[1])
    except (ValueError, IndexError):
        return None
    if not isinstance(record, dict) or not wanted.holds(record):
        return None
    return {**record, "line": [chain, seq]}


def _backwards(path: Path, *, parse: bool = True) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The whole lines of a file from its end, each with its record where that was asked for."""
    with path.open("rb") as stream:
        at = stream.seek(0, 2)
        rest, last = b"", True
        while at > 0:
            size = min(_BLOCK, at)
            at -= size
            stream.seek(at)
            texts = (stream.read(size) + rest).split(b"\n")
            if last:
                texts.pop()  # unfinished, or nothing
                if not texts and at > 0:
                    rest = b""
                    continue
                last = False
            rest = texts.pop(0) if at > 0 and texts else b""
            for text in reversed(texts):
                yield text, (_parsed(text) if parse else {})


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        record = json.loads(text.split(b" ", 4)[4])
    except (ValueError, IndexError):
        return {}
    return record if isinstance(record, dict) else {}
