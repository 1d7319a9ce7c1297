"""Upsert and history merge by key: counted truthfully, compared exactly, deletes found in whole generations."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tongqu.core.connector import Can
from tongqu.core.data import Counts, Deletes, WriteMode
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place, items, pairs

LATER = "2026-01-02T00:00:00+00:00"
CHANGES = [
    ("a", "A"), ("a", "a "), ("e", "é"), ("", None), (None, ""), ("中", "國"), ("a", "ａ"),
    ("ss", "ß"), ("0", "00"),
]  # fmt: skip
VALIDITY = ("id", "v", "_current")


def done(counts: Counts) -> dict[str, int]:
    """What was done to the rows, without zeros."""
    names = ("inserted", "updated", "deleted", "unchanged", "merged", "quarantined")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


class MergeChecks:
    """Writing by key."""

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_upsert_counts_what_it_did(self, place: Place) -> None:
        assert done(place.change(items(range(10)), run="run 1")) == {"inserted": 10}
        mixed = pa.concat_tables([items(range(3)), items(range(3, 8), "new{}"), items(range(10, 12))])
        assert done(place.change(mixed, run="run 2")) == {"inserted": 2, "updated": 5, "unchanged": 3}
        assert place.rows() == sorted([*pairs([0, 1, 2, 8, 9, 10, 11]), *pairs(range(3, 8), "new{}")], key=repr)

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_the_last_of_several_changes_wins(self, place: Place) -> None:
        place.change(items([1, 2]), run="run 1")
        parts = [items([1], "first{}"), items([2], "x{}"), items([1], "last{}"), items([3]), items([3], "l{}")]
        changes = pa.concat_tables(parts)
        assert done(place.change(changes, run="run 2")) == {"inserted": 1, "updated": 2, "merged": 2}
        assert place.rows() == [(1, "last1"), (2, "x2"), (3, "l3")]

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    @pytest.mark.parametrize(("old", "new"), CHANGES, ids=[f"{old!r} {new!r}" for old, new in CHANGES])
    def test_a_small_change_is_a_change(self, place: Place, old: str | None, new: str | None) -> None:
        def rows(value: str | None) -> pa.Table:
            return pa.table({"id": pa.array([1], pa.int64()), "v": pa.array([value], pa.string())})

        place.change(rows(old), run="run 1")
        assert done(place.change(rows(new), run="run 2")) == {"updated": 1}
        assert place.rows() == [(1, new)]

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_keys_are_told_apart_exactly(self, place: Place) -> None:
        words = ["a", "A", "a ", "e", "é", "", " ", "ß", "ss", "ａ", "中", "國"]
        rows = pa.table({"id": words, "v": [f"v{n}" for n in range(len(words))]})
        counts = place.change(rows, run="run 1")
        assert done(counts) == {"inserted": len(words)}
        assert done(place.change(rows, run="run 2")) == {"unchanged": len(words)}
        assert place.rows() == sorted(((row["id"], row["v"]) for row in rows.to_pylist()), key=repr)

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_a_row_without_key_is_quarantined(self, place: Place) -> None:
        rows = pa.table({"id": pa.array([1, None, 3], pa.int64()), "v": ["a", "b", "c"]})
        assert done(place.change(rows, run="run 1")) == {"inserted": 2, "quarantined": 1}
        assert place.rows() == [(1, "a"), (3, "c")]
        assert [row["code"] for row in place.quarantined()] == ["key.null"]

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_a_table_of_keys_alone_is_merged(self, place: Place) -> None:
        keys = pa.table({"id": pa.array([1, 2], pa.int64())})
        place.change(keys, run="run 1")
        assert done(place.change(pa.table({"id": pa.array([2, 3], pa.int64())}), run="run 2")) == {
            "inserted": 1,
            "unchanged": 1,
        }
        assert place.rows(columns=("id",)) == [(1,), (2,), (3,)]

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_a_whole_generation_deletes_what_it_lacks(self, place: Place) -> None:
        place.change(items(range(6)), run="run 1")
        rest = pa.concat_tables([items([0, 1]), items([2], "new{}")])
        counts = place.change(rest, run="run 2", deletes=Deletes.HARD)
        assert done(counts) == {"updated": 1, "unchanged": 2, "deleted": 3}
        assert place.rows() == [(0, "v0"), (1, "v1"), (2, "new2")]

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_ignored_deletes_stay(self, place: Place) -> None:
        place.change(items(range(6)), run="run 1")
        assert done(place.change(items([0]), run="run 2", deletes=Deletes.IGNORE)) == {"unchanged": 1}
        assert place.rows() == pairs(range(6))

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_soft_deletes_are_marked_and_cleared(self, place: Place) -> None:
        place.change(items(range(4)), run="run 1", deletes=Deletes.SOFT)
        assert done(place.change(items([0, 1]), run="run 2", deletes=Deletes.SOFT)) == {"unchanged": 2, "deleted": 2}
        assert _marks(place) == {0: False, 1: False, 2: True, 3: True}
        back = place.change(items([0, 1, 2]), run="run 3", deletes=Deletes.SOFT)
        assert done(back) == {"unchanged": 2, "updated": 1}
        assert _marks(place) == {0: False, 1: False, 2: False, 3: True}

    @needed(Can.READ, Can.WRITE, Can.HISTORY)
    @pytest.mark.parametrize("whole", [False, True], ids=["changes", "whole generation"])
    def test_history_keeps_every_version(self, place: Place, whole: bool) -> None:
        deletes = Deletes.HARD if whole else None
        first = place.change(items(range(4)), run="run 1", mode=WriteMode.HISTORY, deletes=deletes)
        assert done(first) == {"inserted": 4}
        changed = pa.concat_tables([items([0]), items([1], "new{}"), items([9])])
        second = place.change(changed, run="run 2", mode=WriteMode.HISTORY, at=LATER, deletes=deletes)
        expected = {"inserted": 1, "updated": 1, "unchanged": 1} | ({"deleted": 2} if whole else {})
        assert done(second) == expected
        gone = not whole
        assert place.rows(columns=VALIDITY) == sorted(
            [(0, "v0", True), (1, "v1", False), (1, "new1", True), (2, "v2", gone), (3, "v3", gone), (9, "v9", True)],
            key=repr,
        )
        for row in place.table().to_pylist():
            assert (row["_valid_to"] is None) == bool(row["_current"])

    @needed(Can.READ, Can.WRITE, Can.HISTORY)
    def test_history_of_equal_rows_grows_not(self, place: Place) -> None:
        place.change(items(range(4)), run="run 1", mode=WriteMode.HISTORY)
        again = place.change(items(range(4)), run="run 2", mode=WriteMode.HISTORY, at=LATER)
        assert done(again) == {"unchanged": 4}
        assert len(place.rows(columns=VALIDITY)) == 4


def _marks(place: Place) -> dict[int, bool]:
    return {row["id"]: row["_deleted_at"] is not None for row in place.table().to_pylist()}
