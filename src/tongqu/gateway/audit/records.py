"""What is noted of a call: the record of an accepted one, and the counting of refused ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

import orjson

from tongqu.store.audit.line import clean

_MOST_COUNTED = 4096
_MOST_FIELDS = 256


class Seen(NamedTuple):
    """What is taken from a request and its answer while the caller waits; the rest is done by the writer."""

    at: float
    seconds: float
    status: int
    method: str
    path: str
    who: str
    subject: str
    purpose: str
    address: str
    id: str
    trace: str
    api: str
    version: str
    action: str
    rows: int
    bytes: int
    fields: Sequence[str]
    masks: Sequence[str]
    policy: str
    cache: str
    reason: str
    config: str
    subjects: Sequence[str]
    rule: str


def recorded(seen: Seen) -> bytes:
    """The record of an accepted call."""
    record: dict[str, Any] = {
        "at": instant_of(seen.at),
        "kind": "call",
        "who": clean(seen.who),
        "what": clean(seen.action or seen.method),
        "api": clean(seen.api),
        "version": clean(seen.version),
        "from": clean(seen.address),
        "outcome": seen.status,
        "fields": _names(tuple(seen.fields)),
        "masks": _names(tuple(seen.masks)),
        "policy": seen.policy,
        "rows": seen.rows,
        "bytes": seen.bytes,
        "ms": round(seen.seconds * 1000, 2),
        "trace": clean(seen.trace),
        "id": clean(seen.id),
        "config": seen.config,
    }
    if not seen.api:
        record["path"] = clean(seen.path)
    told = (("for", seen.subject), ("purpose", seen.purpose), ("cache", seen.cache), ("code", seen.reason))
    record |= {name: clean(text) for name, text in told if text}
    if seen.subjects:
        record["subjects"] = [clean(one) for one in seen.subjects]
    return orjson.dumps(record)


class Form:
    """The record of a call of which many are alike: they differ in when they were, how long they took, and ids."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        whole = recorded(seen._replace(at=0.0, seconds=0.0, trace="0", id="0")).decode()
        first, self._middle, rest = whole.partition(instant_of(0.0))
        gap = '"ms":0.0,"trace":"0","id":"0"'
        self._first = first
        before, found, after = rest.rpartition(gap)
        if not found:
            raise ValueError("the record of a call has another form")
        self._middle, self._last = f"{before}{gap[:5]}", after

    def records(self, at: float, calls: Sequence[tuple[float, str, str]]) -> list[bytes]:
        """The records of calls at a moment: their seconds, ids and traces (hex, as they are)."""
        start, last = f"{self._first}{instant_of(at)}{self._middle}", self._last
        return [
            f'{start}{round(seconds * 1000, 2)},"trace":"{trace}","id":"{id}"{last}'.encode()
            for seconds, id, trace in calls
        ]


class Repeated(NamedTuple):
    """Calls of one form: their seconds, ids and traces."""

    at: float
    form: Form
    calls: Sequence[tuple[float, str, str]]


class Counted(NamedTuple):
    """What refused calls are counted by: the code, the client or the network it came from, and the second."""

    reason: str
    by: str
    second: int


@dataclass(slots=True)
class Sample:
    """How many there were, and the first of them."""

    count: int
    seen: Seen


class Refusals:
    """Counts refused calls; one writer's. In a second with very many callers the rest is counted as of `*`."""

    def __init__(self, most: int = _MOST_COUNTED) -> None:
        self._most = most
        self._counts: dict[Counted, Sample] = {}

    def count(self, seen: Seen) -> None:
        """One more."""
        key = Counted(seen.reason, seen.who if seen.who != "anonymous" else network_of(seen.address), int(seen.at))
        sample = self._counts.get(key)
        if sample is None and len(self._counts) >= self._most:
            key = Counted(seen.reason, "*", int(seen.at))
            sample = self._counts.get(key)
        if sample is None:
            self._counts[key] = Sample(1, seen)
        else:
            sample.count += 1

    def over(self, second: float) -> list[bytes]:
        """The records of the seconds before `second`, which are forgotten."""
        done = [key for key in self._counts if key.second < second]
        return [_refused(key, self._counts.pop(key)) for key in done]


def _refused(key: Counted, sample: Sample) -> bytes:
    seen = sample.seen
    told = {"method": seen.method, "path": seen.path, "from": seen.address, "id": seen.id, "trace": seen.trace,
            "rule": seen.rule}  # fmt: skip
    return orjson.dumps(
        {
            "at": instant_of(key.second),
            "kind": "refused",
            "who": clean(key.by),
            "code": clean(key.reason),
            "outcome": seen.status,
            "count": sample.count,
            "api": clean(seen.api),
            "sample": {name: clean(text) for name, text in told.items() if text},
        }
    )


@lru_cache(4096)
def network_of(address: str) -> str:
    """The network that refused calls of unknown callers are counted by: /24, of IPv6 /48."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return clean(address)
    if isinstance(found, IPv6Address):
        return f"{IPv6Address(int(found) >> 80 << 80)}/48"
    return f"{address.rpartition('.')[0]}.0/24"


def instant_of(at: float) -> str:
    """RFC 3339 with milliseconds and `Z`."""
    whole = int(at)
    return f"{_second(whole)}.{int((at - whole) * 1000):03d}Z"


@lru_cache(64)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(2048)
def _names(names: tuple[str, ...]) -> list[str]:
    shown = [clean(name) for name in names[:_MOST_FIELDS]]
    return shown if len(names) <= _MOST_FIELDS else [*shown, f"… {len(names)}"]
