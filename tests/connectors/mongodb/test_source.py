"""What is read from MongoDB: every document once, in ranges that can be resumed, whatever its `_id` is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tongqu.connectors.mongodb import ranges
from tongqu.core.data import Mode, Read, Split
from tongqu.core.errors import SchemaError
from tongqu.testing.conformance.place import Place, full


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_DOCUMENTS", 20)


def ids(batches: list[Any]) -> list[Any]:
    return [value for batch in batches for value in batch.rows.column("_id").to_pylist()]


def test_many_documents_are_cut_into_ranges_that_are_all_of_them(
    place: Place, database: Any, small_ranges: None
) -> None:
    database.c.insert_many([{"_id": n} for n in range(200)])
    with place.source() as source:
        (dataset,) = source.datasets(["c"])
        splits = source.splits(dataset, 3)
        assert len(splits) == 3
        found = [list(full(source, dataset, split, batch_rows=1000, chunk_rows=1000)) for split in splits]
        assert sorted(one for part in found for one in ids(part)) == list(range(200))
        first = found[0]
        assert len([batch for batch in first if batch.position]) > 1
        for number, batch in enumerate(first):
            rest = list(full(source, dataset, splits[0], batch.position, batch_rows=1000, chunk_rows=1000))
            assert sorted(ids(first[: number + 1]) + ids(rest)) == sorted(ids(first))


def test_ids_of_several_types_are_all_read(place: Place, database: Any, small_ranges: None) -> None:
    database.c.insert_many([{"_id": n} for n in range(60)])
    database.c.insert_many([{"_id": f"t{n}"} for n in range(60)])
    with place.source() as source:
        (dataset,) = source.datasets(["c"])
        found = [ids(list(full(source, dataset, split))) for split in source.splits(dataset, 4)]
    everything = [one for part in found for one in part]
    assert len(everything) == len(set(everything)) == 120, "a document was lost or read twice"


def test_documents_in_arrays_are_a_dataset(place: Place, database: Any) -> None:
    database.orders.insert_many([{"_id": n, "items": [{"sku": f"s{n}{k}"} for k in range(n)]} for n in range(4)])
    settings = place.settings.model_copy(update={"nested": "children"})
    with place.source(settings) as source:
        assert [one.name for one in source.datasets(None)] == ["orders", "orders.items"]
        (dataset,) = source.datasets(["orders.items"])
        batches = list(full(source, dataset, source.splits(dataset, 1)[0]))
    found = [tuple(row.values()) for batch in batches for row in batch.rows.to_pylist()]
    assert sorted(found) == [(1, 1, "s10"), (2, 1, "s20"), (2, 2, "s21"), (3, 1, "s30"), (3, 2, "s31"), (3, 3, "s32")]


def test_an_increment_along_an_index_is_cut_between_values(place: Place, database: Any) -> None:
    database.c.insert_many([{"_id": n, "at": n // 3} for n in range(30)])
    database.c.create_index([("at", 1)])
    with place.source() as source:
        (dataset,) = source.datasets(["c"])
        until = source.horizon(dataset, "at", None, ties=False)
        split = Split("0", "c", {"after": None, "until": until})
        asked = Read(dataset, split, mode=Mode.INCREMENTAL, cursor="at", ties=False, batch_rows=4)
        whole = list(source.read(asked))
        assert sorted(ids(whole)) == list(range(30))
        assert len(whole) > 3
        for number, batch in enumerate(whole[:-1]):
            rest = list(source.read(replace(asked, after=batch.position)))
            assert sorted(ids(whole[: number + 1]) + ids(rest)) == list(range(30)), batch.position


def test_dates_stay_behind_the_clock(place: Place, database: Any) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(hours=1), now - timedelta(seconds=20), now + timedelta(seconds=60)]
    database.c.insert_many([{"_id": n, "at": at} for n, at in enumerate(times)])
    with place.source() as source:
        (dataset,) = source.datasets(["c"])
        until = source.horizon(dataset, "at", None)
        asked = Read(dataset, Split("0", "c", {"after": None, "until": until}), mode=Mode.INCREMENTAL, cursor="at")
        assert ids(list(source.read(asked))) == [0, 1]


def test_a_cursor_of_another_type_is_refused(place: Place, database: Any) -> None:
    database.c.insert_many([{"_id": n, "at": n} for n in range(3)])
    with place.source() as source:
        (dataset,) = source.datasets(["c"])
        database.c.insert_one({"_id": 9, "at": "text"})
        with pytest.raises(SchemaError, match="1 documents"):
            source.horizon(dataset, "at", None)


def test_a_document_that_does_not_fit_is_counted_and_set_aside(place: Place, database: Any) -> None:
    database.c.insert_many([{"_id": n, "v": n} for n in range(5)])
    with place.source() as source:
        (dataset,) = source.datasets(["c"])
        database.c.insert_many([{"_id": 7, "v": {"odd": 1}}, {"_id": 8, "new": 1}])
        batches = list(full(source, dataset, source.splits(dataset, 1)[0]))
    assert sorted(ids(batches)) == [0, 1, 2, 3, 4]
    assert sorted(bad.field for batch in batches for bad in batch.bad) == ["new", "v"]
