"""Cuts a collection into ranges of `_id` that are read one after the other, and says how each is asked for.

MongoDB compares values of one type only: the first range takes whatever does not reach its upper end, values of other
types included, so that the ranges together are everything whatever types `_id` has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.connectors.mongodb.collection import ID
from tongqu.core.data import Read, Split

RANGE_DOCUMENTS = 1_000_000
"""How many documents a range has at most, about; a read goes on after any range. A collection of no more is one scan in
the order of the disk."""
_PER_CUT = 20
_MOST_SAMPLED = 20_000


def dumped(value: Any) -> str:
    """A value as text that keeps its type (canonical Extended JSON)."""
    from bson import json_util

    return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS, ensure_ascii=False)


def loaded(text: str) -> Any:
    """The opposite of `dumped`."""
    from bson import json_util
    from bson.binary import UuidRepresentation
    from bson.codec_options import DatetimeConversion

    options = json_util.JSONOptions(
        json_mode=json_util.JSONMode.CANONICAL, uuid_representation=UuidRepresentation.UNSPECIFIED,
        datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    )  # fmt: skip
    return json_util.loads(text, json_options=options)


def cuts(collection: Any, count: int) -> list[str]:
    """Values of `_id`, in order, between which there are about RANGE_DOCUMENTS documents; none for small ones. The
    server takes them at random, so that no index has to be walked."""
    wanted = -(-count // RANGE_DOCUMENTS)
    if wanted < 2:  # one range is the whole
        return []
    size = min(_MOST_SAMPLED, wanted * _PER_CUT)
    steps = [{"$sample": {"size": size}}, {"$project": {ID: 1}}, {"$sort": {ID: 1}}]
    sampled = [one[ID] for one in collection.aggregate(steps)]
    kinds = Counter(map(_compared, sampled))
    common = kinds.most_common(1)[0][0] if kinds else ""
    found = list(dict.fromkeys(dumped(one) for one in sampled if _compared(one) == common))
    chosen = [found[len(found) * n // wanted] for n in range(1, wanted)] if found else []
    return list(dict.fromkeys(chosen))


def _compared(value: Any) -> str:
    """The types that MongoDB compares with each other have one name: cuts must be of one."""
    from bson import Decimal128

    number = isinstance(value, int | float | Decimal128) and not isinstance(value, bool)
    return "number" if number else type(value).__name__


def splits(name: str, found: Sequence[str], wanted: int, count: int) -> list[Split]:
    """The ranges between these cuts, dealt out to at most `wanted` splits."""
    ends: list[str | None] = [None, *found, None]
    ranges = len(ends) - 1
    parts = max(1, min(wanted, ranges))
    made = []
    for part in range(parts):
        first, last = ranges * part // parts, ranges * (part + 1) // parts
        made.append(Split(str(part), name, {"ends": ends[first : last + 1], "size": count // ranges}))
    return made


@dataclass(frozen=True)
class Range:
    """One range: its number, and the values of `_id` from (excluding it, if `beyond`) and below which it goes."""

    number: int
    lower: str | None
    upper: str | None
    beyond: bool = False
    closed: bool = False
    """The upper end is part of it."""

    def condition(self) -> dict[str, Any]:
        """As MongoDB is asked for it."""
        below = "$lte" if self.closed else "$lt"
        if self.lower is None and self.upper is None:
            return {}
        if self.lower is None:
            above = "$gt" if self.closed else "$gte"
            return {ID: {"$not": {above: loaded(self.upper or "")}}}
        condition: dict[str, Any] = {"$gt" if self.beyond else "$gte": loaded(self.lower)}
        if self.upper is not None:
            condition[below] = loaded(self.upper)
        return {ID: condition}


def ranges(read: Read) -> Iterator[Range]:
    """The ranges of a full read that are left after its position, up to the one that it is asked to end at."""
    spec: Mapping[str, Any] = read.split.spec
    ends: Sequence[str | None] = spec.get("ends") or (None, None)
    after, until = read.after or {}, read.until or {}
    last = len(ends) - 1
    stop = int(until.get("range", last)) if not until.get("end") else last
    for number in range(int(after.get("range", 0)), min(last, stop + ("key" in until))):
        lower, upper, beyond, closed = ends[number], ends[number + 1], False, False
        if number == after.get("range") and "key" in after:
            lower, beyond = after["key"], True
        if number == stop and "key" in until:
            upper, closed = until["key"], True
        yield Range(number, lower, upper, beyond, closed)
