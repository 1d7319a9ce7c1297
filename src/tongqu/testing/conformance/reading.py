"""A read can be cut anywhere and go on, in parts or whole, and ends when it is asked to."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.connector import Can, Source
from tongqu.core.data import Batch, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import SchemaError
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place, full, items

ROWS = 50


def ids(batches: list[Batch]) -> list[int]:
    """The ids in the batches, in order of arrival."""
    found: list[Any] = [value for batch in batches for value in batch.rows.column("id").to_pylist()]
    return found


class ReadChecks:
    """Full and incremental reads."""

    @needed(Can.READ, Can.WRITE, Can.RESUME)
    def test_cut_after_every_position_nothing_is_lost_or_doubled(self, place: Place) -> None:
        place.fill(items(range(ROWS)))
        with place.source() as source:
            dataset = place.dataset(source)
            assert source.can_resume(dataset)
            (split,) = source.splits(dataset, 1)
            whole = list(full(source, dataset, split))
        assert sorted(ids(whole)) == list(range(ROWS))
        cuts = [number for number, batch in enumerate(whole) if batch.position is not None]
        assert len(cuts) > 1, "the read gave no position to cut at before the end"
        for cut in cuts:
            with place.source() as source:
                dataset = place.dataset(source)
                rest = list(full(source, dataset, split, whole[cut].position))
            assert sorted(ids(whole[: cut + 1]) + ids(rest)) == list(range(ROWS)), whole[cut].position

    @needed(Can.READ, Can.WRITE, Can.RESUME, Can.UPSERT)
    def test_a_composite_text_key_is_cut_exactly(self, place: Place) -> None:
        words = ["", " ", "a", "A", "B", "b", "é", "É", "z", "Z", "中", "名", "😀", "ab", "a b", "a-b", "-", "_"]
        rows = pa.table({"k": [w for w in words for _ in range(3)], "id": [n for _ in words for n in range(3)]})
        place.fill(rows, key=("k", "id"))
        want = sorted((row["k"], row["id"]) for row in rows.to_pylist())
        with place.source() as source:
            dataset = place.dataset(source)
            (split,) = source.splits(dataset, 1)
            whole = list(full(source, dataset, split))
            assert _pairs(whole) == want
            for number, batch in enumerate(whole):
                if batch.position is not None:
                    rest = list(full(source, dataset, split, batch.position))
                    assert sorted(_pairs(whole[: number + 1]) + _pairs(rest)) == want, batch.position

    @needed(Can.READ, Can.WRITE, Can.SNAPSHOT, Can.UPSERT)
    def test_a_source_of_one_instant_keeps_to_it(self, place: Place) -> None:
        place.fill(items(range(6)))
        with place.source() as source:
            if not source.one_instant:
                return
            dataset = place.dataset(source)
            (split,) = source.splits(dataset, 1)
            first = [batch.rows for batch in full(source, dataset, split)]
            place.change(pa.concat_tables([items([0], "new{}"), items([9])]), run="run 2")
            again = [batch.rows for batch in full(source, dataset, split)]
        assert pa.Table.from_batches(again).equals(pa.Table.from_batches(first))
        assert len(place.rows()) == 7

    @needed(Can.READ, Can.WRITE, Can.RESUME)
    def test_a_chunk_can_be_read_again(self, place: Place) -> None:
        place.fill(items(range(ROWS)))
        with place.source() as source:
            dataset = place.dataset(source)
            (split,) = source.splits(dataset, 1)
            after: Position | None = None
            seen: list[Batch] = []
            for batch in full(source, dataset, split):
                seen.append(batch)
                if batch.position is None:
                    continue
                again = list(full(source, dataset, split, after, until=batch.position))
                assert sorted(ids(again)) == sorted(ids(seen))
                assert again[-1].position == batch.position
                after, seen = batch.position, []

    @needed(Can.READ, Can.WRITE, Can.SPLITS)
    def test_splits_are_the_whole_and_do_not_overlap(self, place: Place) -> None:
        place.fill(items(range(ROWS)))
        with place.source() as source:
            dataset = place.dataset(source)
            splits = source.splits(dataset, 4)
            assert len({split.id for split in splits}) == len(splits) <= 4
            found = [number for split in splits for number in ids(list(full(source, dataset, split)))]
        assert sorted(found) == list(range(ROWS))

    @needed(Can.READ, Can.WRITE)
    def test_columns_are_chosen(self, place: Place) -> None:
        place.fill(items(range(3)))
        with place.source() as source:
            dataset = place.dataset(source)
            (split,) = source.splits(dataset, 1)
            batches = list(full(source, dataset, split, columns=("v",)))
        assert {tuple(batch.rows.schema.names) for batch in batches} == {("v",)}
        assert sorted(str(v) for b in batches for v in b.rows.column("v").to_pylist()) == ["v0", "v1", "v2"]

    @needed(Can.READ, Can.WRITE)
    def test_a_read_ends_when_asked_to(self, place: Place) -> None:
        place.fill(items(range(ROWS)))
        stop = Event()
        with place.source() as source:
            dataset = place.dataset(source)
            (split,) = source.splits(dataset, 1)
            stop.set()
            begun = time.monotonic()
            list(full(source, dataset, split, stop=stop))
            assert time.monotonic() - begun < 5

    @needed(Can.READ, Can.WRITE, Can.INCREMENTAL, Can.UPSERT)
    @pytest.mark.parametrize("ties", [True, False], ids=["ties", "no ties"])
    def test_increments_follow_each_other_without_gap(self, place: Place, ties: bool) -> None:
        place.fill(numbered(range(10)))
        with place.source() as source:
            first = source.horizon(place.dataset(source), "at", None, ties=ties)
            assert first is not None
            seen = increment(source, place.dataset(source), None, first, ties=ties)
        assert sorted(set(seen)) == list(range(10))
        place.change(numbered(range(10, 25)), run="run 2")
        with place.source() as source:
            second = source.horizon(place.dataset(source), "at", first, ties=ties)
            assert second is not None
            more = increment(source, place.dataset(source), first, second, ties=ties)
            assert set(more) >= set(range(10, 25)), f"rows were lost between {first} and {second}"
            if not ties:
                assert sorted(more) == list(range(10, 25)), "rows were read again"
            after = source.horizon(place.dataset(source), "at", second, ties=False)
            again = [] if after is None else increment(source, place.dataset(source), second, after, ties=False)
        assert again == []

    @needed(Can.READ, Can.WRITE, Can.INCREMENTAL, Can.UPSERT)
    def test_rows_with_one_cursor_value_are_cut_without_loss(self, place: Place) -> None:
        place.fill(pa.table({"id": pa.array(range(ROWS), pa.int64()), "at": pa.array([7] * ROWS, pa.int64())}))
        with place.source() as source:
            dataset = place.dataset(source)
            until = source.horizon(dataset, "at", None)
            assert until is not None
            batches = list(source.read(_increment(dataset, None, until, ties=True)))
            assert sorted(ids(batches)) == list(range(ROWS))
            for number, batch in enumerate(batches):
                if batch.position is not None and not batch.position.get("end"):
                    rest = list(source.read(_increment(dataset, None, until, ties=True, resumed=batch.position)))
                    assert set(ids(batches[: number + 1]) + ids(rest)) == set(range(ROWS)), batch.position

    @needed(Can.READ, Can.WRITE, Can.INCREMENTAL, Can.UPSERT)
    def test_rows_without_a_cursor_are_refused(self, place: Place) -> None:
        place.fill(pa.table({"id": pa.array([1, 2], pa.int64()), "at": pa.array([1, None], pa.int64())}))
        with place.source() as source, pytest.raises(SchemaError, match="1"):
            source.horizon(place.dataset(source), "at", None)

    @needed(Can.READ, Can.WRITE)
    def test_a_read_says_that_it_came_to_the_end(self, place: Place) -> None:
        for rows in (items(range(ROWS)), items(range(0))):
            place.fill(rows)
            with place.source() as source:
                dataset = place.dataset(source)
                for split in source.splits(dataset, 1):
                    *before, last = full(source, dataset, split)
                    assert last.position is not None and last.position.get("end"), last.position
                    assert not any(batch.position and batch.position.get("end") for batch in before)

    @needed(Can.READ, Can.WRITE)
    def test_nothing_is_left_behind_by_close(self, place: Place) -> None:
        place.fill(items(range(ROWS)))
        place.rows()
        threads, sockets = _threads(), _sockets()
        for _ in range(3):
            with place.source() as source:
                dataset = place.dataset(source)
                for split in source.splits(dataset, 1):
                    reading = iter(full(source, dataset, split))
                    next(reading)
                    getattr(reading, "close", lambda: None)()
                source.close()
            with place.sink() as sink:
                list(sink.check())
                sink.close()
        waited = Event()
        for _ in range(20):
            if _threads() <= threads and _sockets() <= sockets:
                break
            waited.wait(0.1)
        assert _threads() <= threads, f"threads were left: {_threads() - threads}"
        assert _sockets() <= sockets, "sockets were left open"


def numbered(ids: Any) -> pa.Table:
    """Rows with a cursor that grows with the id."""
    numbers = pa.array(list(ids), pa.int64())
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("at", pa.int64(), nullable=False)])
    return pa.table([numbers, numbers], schema=schema)


def increment(source: Source, dataset: Dataset, after: Position | None, until: Position, *, ties: bool) -> list[int]:
    """The ids of one incremental read."""
    return ids(list(source.read(_increment(dataset, after, until, ties=ties))))


def _increment(
    dataset: Dataset, after: Position | None, until: Position, *, ties: bool, resumed: Position | None = None
) -> Read:
    split = Split("0", dataset.name, {"after": after, "until": until})
    asked = Read(dataset, split, after=resumed, mode=Mode.INCREMENTAL, cursor="at", ties=ties)
    return replace(asked, batch_rows=5, chunk_rows=7)


def _pairs(batches: list[Batch]) -> list[tuple[str, int]]:
    return sorted((row["k"], row["id"]) for batch in batches for row in batch.rows.to_pylist())


def _threads() -> set[str]:
    return {f"{thread.name} {thread.ident}" for thread in threading.enumerate()}


def _sockets() -> int:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return 0
    links = []
    for entry in folder.iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return sum(link.startswith("socket:") for link in links)
