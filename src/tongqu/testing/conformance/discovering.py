"""What is discovered is what is read, and what the sink keeps for itself is not shown."""

from __future__ import annotations

import pyarrow as pa

from tongqu.core.connector import Can
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place, full, items


class DiscoveryChecks:
    """Datasets and their schemas."""

    @needed(Can.READ, Can.WRITE)
    def test_the_discovered_schema_is_the_read_schema(self, place: Place) -> None:
        place.fill(items(range(20)))
        with place.source() as source:
            dataset = place.dataset(source)
            for split in source.splits(dataset, 1):
                for batch in full(source, dataset, split):
                    assert batch.rows.schema.equals(dataset.schema), f"{batch.rows.schema} is not {dataset.schema}"

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_keys_are_discovered(self, place: Place) -> None:
        place.fill(items(range(3)))
        with place.source() as source:
            assert place.dataset(source).key == ("id",)
            assert not place.dataset(source).schema.field("id").nullable

    @needed(Can.READ, Can.WRITE)
    def test_our_own_tables_are_not_listed(self, place: Place) -> None:
        place.fill(items(range(3)))
        place.put([items(range(4))], place.ask(items([]), place.whole, run="run 2"))
        with place.source() as source:
            assert [dataset.name for dataset in source.datasets(None)] == ["items"]

    @needed(Can.READ, Can.WRITE)
    def test_an_empty_dataset_has_a_schema(self, place: Place) -> None:
        place.fill(items([]))
        with place.source() as source:
            dataset = place.dataset(source)
            assert dataset.columns == ("id", "v")
        assert place.table().num_rows == 0

    @needed(Can.READ, Can.WRITE)
    def test_odd_names_are_names(self, place: Place) -> None:
        odd = ["select", 'qu"ote', "中文 列", "UPPER", "semi;colon", "per%cent", "ques?tion", "back`tick"]
        rows = pa.table({name: pa.array([number], pa.int64()) for number, name in enumerate(odd)})
        place.fill(rows, name="Order", key=())
        assert place.table("Order").to_pylist() == rows.to_pylist()
