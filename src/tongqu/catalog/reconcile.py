"""Finds the rows in which two tables differ: counts and sums by key ranges, halved down to the rows themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Event
from typing import Any, TypeVar

import pyarrow as pa

from tongqu.core.compare import DIGEST, Comparable, Key, Span, Sum, key_columns
from tongqu.core.errors import CancelledError, SchemaError
from tongqu.core.kernels import pc

T = TypeVar("T")
_PARTS = 64
LEAF = 512
"""Ranges of up to this many rows are listed, larger ones are cut and summed again."""
_LISTED = 200_000
"""Rows of one side that are listed at once."""
_RECHECKED = 50_000
"""Up to this many differing keys are looked at a second time."""
_THERE = "there"
_LOOKS = (0.3, 0.7, 2.0)
"""Seconds before each further look at rows that differ; there are no more where nothing moved since the last."""
_ABSENT = -1
"""Stands for the digest of a row that is not there."""


@dataclass
class Found:
    """Keys (`k0`, `k1`, …) in which the sides differ; of a bag each key is a row's digest, with its `times`."""

    missing: pa.Table
    extra: pa.Table
    different: pa.Table

    @property
    def count(self) -> int:
        """Differing keys of all three kinds."""
        return self.missing.num_rows + self.extra.num_rows + self.different.num_rows


@dataclass
class Tally:
    """What a comparison learnt: rows and digest sums of both sides, and how many rows were listed to find the rest."""

    left: Sum = field(default_factory=Sum)
    right: Sum = field(default_factory=Sum)
    listed: int = 0
    passes: int = 0
    """Ranges that were summed, over all levels."""
    settled: int = 0
    """Differing rows that were equal, or gone, when they were looked at again."""
    moving: int = 0
    """Rows that differed, and that the right side had changed at each look: it follows, and nobody can tell more."""
    rechecked: bool = True
    spans: list[tuple[Span, Sum, Sum]] = field(default_factory=list)
    """The sums of the first level."""

    @property
    def remarks(self) -> list[str]:
        """What a certificate says of rows that could not be compared."""
        return [f"{self.moving:,} rows changed at each look and could not be compared"] if self.moving else []


class Pair:
    """Both sides, asked at the same time in a thread each."""

    def __init__(self, left: Comparable, right: Comparable, key: Sequence[str], stop: Event | None = None):
        self.left, self.right = left, right
        self.names = key_columns(max(len(key), 1))
        self.bag = not key
        self._key = tuple(key)
        self._stop = stop or Event()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="diff")

    def both(self, ask: Callable[[Comparable], T]) -> tuple[T, T]:
        """What both sides answer."""
        if self._stop.is_set():
            raise CancelledError("stopped while comparing")
        first, second = (self._threads.submit(ask, side) for side in (self.left, self.right))
        return first.result(), second.result()

    def wait(self, seconds: float) -> None:
        """Let some time pass; a stop ends it."""
        self._stop.wait(seconds)

    def close(self) -> None:
        """Release both sides."""
        self._threads.shutdown()
        self.left.close()
        self.right.close()

    def refuse_nulls(self) -> None:
        """Raise SchemaError if rows cannot be found by their key because it is null."""
        for name, nulls in zip(("left", "right"), self.both(lambda side: side.nulls()), strict=True):
            if nulls:
                raise SchemaError(
                    f"{nulls:,} rows of the {name} side have a null in the key ({', '.join(self._key)})",
                    hint="choose another key with --key, or compare whole rows with --no-key",
                )


def differences(pair: Pair, tally: Tally) -> Iterator[Found]:
    """The differences, some at a time in no order; `tally` is filled on the way. Nothing is yielded if all is equal.

    One pass over each side if they are equal. Otherwise ranges whose sums differ are cut at keys of the larger side
    and summed again, until they hold at most LEAF rows or until more of them differ than not; the keys and digests of
    these are listed. Differing keys are looked at again, so that rows that changed meanwhile are not reported, nor
    those that a right side which follows the left has not got yet: what is reported stood still there.
    Raises SchemaError if the key is null in a row or does not identify one.
    """
    pair.refuse_nulls()
    spans = _between(pair.left.spread(_PARTS), Span())
    unequal = _summed(pair, spans, tally)
    tally.spans = [(span, left, right) for span, left, right, _ in unequal]
    tally.left = _total(left for _, left, _, _ in unequal)
    tally.right = _total(right for _, _, right, _ in unequal)
    open_ = [(span, left, right) for span, left, right, equal in unequal if not equal]
    while open_:
        leaves = [one for one in open_ if _size(one) <= LEAF]
        large = [one for one in open_ if _size(one) > LEAF]
        yield from _listed(pair, leaves, tally)
        pieces = [piece for one in large for piece in _cut(pair, one)]
        if len(pieces) == len(large):  # no cut: one key fills the range, or it is a bag of one row
            yield from _listed(pair, large, tally)
            return
        summed = _summed(pair, pieces, tally)
        open_ = [(span, left, right) for span, left, right, equal in summed if not equal]
        if len(open_) * 2 > len(summed):
            yield from _listed(pair, open_, tally)
            return


def _size(one: tuple[Span, Sum, Sum]) -> int:
    return max(one[1].rows, one[2].rows)


def _total(sums: Iterator[Sum]) -> Sum:
    rows = digests = 0
    for one in sums:
        rows, digests = rows + one.rows, digests + one.digests
    return Sum(rows, digests)


def _between(cuts: Sequence[Key], span: Span) -> list[Span]:
    ends: list[Key | None] = [span.lower, *cuts, span.upper]
    return [Span(lower, upper) for lower, upper in pairwise(ends)]


def _summed(pair: Pair, spans: list[Span], tally: Tally) -> list[tuple[Span, Sum, Sum, bool]]:
    tally.passes += len(spans)
    left, right = pair.both(lambda side: side.sums(spans))
    return [(span, a, b, a == b) for span, a, b in zip(spans, left, right, strict=True)]


def _cut(pair: Pair, one: tuple[Span, Sum, Sum]) -> list[Span]:
    span, left, right = one
    side = pair.left if left.rows >= right.rows else pair.right
    return _between(side.cuts(span, max(_size(one) // _PARTS, LEAF // 4)), span)


# ---- rows


def _listed(pair: Pair, ranges: Sequence[tuple[Span, Sum, Sum]], tally: Tally) -> Iterator[Found]:
    """List the keys and digests of ranges and compare them, so many rows at once."""
    group: list[Span] = []
    rows = 0
    for one in ranges:
        if group and rows + _size(one) > _LISTED:
            yield from _compared(pair, group, tally)
            group, rows = [], 0
        group.append(one[0])
        rows += _size(one)
    if group:
        yield from _compared(pair, group, tally)


def _compared(pair: Pair, spans: list[Span], tally: Tally) -> Iterator[Found]:
    left, right = pair.both(lambda side: side.digests(spans))
    tally.listed += left.num_rows + right.num_rows
    found = _bags(left, right) if pair.bag else _keyed(pair, left, right)
    if pair.bag:
        tally.rechecked = False
    elif 0 < found.count <= _RECHECKED:
        found = _again(pair, found, tally)
    elif found.count:
        tally.rechecked = False
    if found.count:
        yield found


def _keyed(pair: Pair, left: pa.Table, right: pa.Table) -> Found:
    names = list(pair.names)
    for side, rows in (("left", left), ("right", right)):
        if rows.num_rows and rows.group_by(names).aggregate([]).num_rows != rows.num_rows:
            counted = rows.group_by(names).aggregate([([], "count_all")])
            twice = counted.filter(pc.greater(counted.column("count_all"), 1)).slice(0, 1).to_pylist()[0]
            shown = ", ".join(str(twice[name]) for name in names)
            raise SchemaError(
                f"the key does not identify a row: the {side} side has {twice['count_all']} rows with ({shown})",
                hint="choose another key with --key, or compare whole rows with --no-key",
            )
    return _split(_outer(left, right, names), names)


def _outer(left: pa.Table, right: pa.Table, names: list[str]) -> pa.Table:
    return left.join(right.rename_columns([*names, _THERE]), keys=names, join_type="full outer")


def _split(both: pa.Table, names: list[str]) -> Found:
    here, there = both.column(DIGEST), both.column(_THERE)
    keys = both.select(names)
    differ: Any = pc.fill_null(pc.not_equal(here, there), False)
    return Found(keys.filter(pc.is_null(there)), keys.filter(pc.is_null(here)), keys.filter(differ))


def _bags(left: pa.Table, right: pa.Table) -> Found:
    """Rows by digest: how many more there are on one side."""
    counts = [side.group_by("k0").aggregate([([], "count_all")]).rename_columns(["k0", name])
              for side, name in ((left, DIGEST), (right, _THERE))]  # fmt: skip
    both = counts[0].join(counts[1], keys=["k0"], join_type="full outer")
    surplus: Any = pc.subtract(*(pc.fill_null(both.column(name), 0) for name in (DIGEST, _THERE)))
    tables = []
    for sign in (1, -1):
        times: Any = pc.multiply(surplus, sign)
        more: Any = pc.greater(times, 0)
        tables.append(both.select(["k0"]).append_column("times", times).filter(more))
    return Found(tables[0], tables[1], both.select(["k0"]).slice(0, 0))


def _again(pair: Pair, found: Found, tally: Tally) -> Found:
    """Look at differing keys again, as long as some of them move: rows may have changed between the two sides' answers,
    and the right side may follow the left. What stands still on the right differs, however much the left moves."""
    names = list(pair.names)
    before = _look(pair, pa.concat_tables([found.missing, found.extra, found.different]), tally)
    still = moving = before.slice(0, 0)
    if not pair.right.live:
        still = before
    for seconds in _LOOKS if pair.right.live and before.num_rows else ():
        pair.wait(seconds)
        now = _look(pair, before, tally)
        still = now.join(before, keys=[*names, _THERE], join_type="left semi")
        moving = now.join(before, keys=[*names, _THERE], join_type="left anti")
        if now.join(before, keys=[*names, DIGEST, _THERE], join_type="left semi").num_rows == before.num_rows:
            break
        before = now
    tally.settled += found.count - still.num_rows - moving.num_rows
    tally.moving += moving.num_rows
    told: list[Any] = [still.column(name) for name in (DIGEST, _THERE)]
    there = [pc.if_else(pc.equal(one, _ABSENT), pa.scalar(None, pa.int64()), one) for one in told]
    return _split(pa.table([*(still.column(name) for name in names), *there], [*names, DIGEST, _THERE]), names)


def _look(pair: Pair, keys: pa.Table, tally: Tally) -> pa.Table:
    """The keys of which the sides differ now, with both digests; a row that is not there has -1."""
    names = list(pair.names)
    keys = keys.select(names)
    sides = [
        side.join(keys, keys=names, join_type="left semi") for side in pair.both(lambda side: side.digests_of(keys))
    ]
    tally.listed += sum(side.num_rows for side in sides)
    both = _outer(sides[0], sides[1], names)
    told: list[Any] = [pc.fill_null(both.column(name), _ABSENT) for name in (DIGEST, _THERE)]
    return pa.table([*(both.column(name) for name in names), *told], [*names, DIGEST, _THERE]).filter(
        pc.not_equal(told[0], told[1])
    )


def counted(tally: Tally, missing: int, extra: int, different: int) -> dict[str, int]:
    """The contract's numbers: `same missing extra different`; same is what the left side has and nothing else names."""
    different_ = different + tally.moving
    same = min(max(tally.left.rows - missing - different_, 0), max(tally.right.rows - extra - different_, 0))
    return {"same": same, "missing": missing, "extra": extra, "different": different}


def larger(found: Found, other: Found) -> Found:
    """Both together."""
    return replace(
        found,
        missing=pa.concat_tables([found.missing, other.missing]),
        extra=pa.concat_tables([found.extra, other.extra]),
        different=pa.concat_tables([found.different, other.different]),
    )
