"""What is written into MongoDB: documents by key, refused ones aside, also where the server has no transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from bson import Int64

from tongqu.core.connector import Sink
from tongqu.core.data import Checkpoint, Counts, Deletes, Split, WriteMode
from tongqu.core.errors import ConnectError, FencedError, SchemaError
from tongqu.testing.conformance.merging import done
from tongqu.testing.conformance.place import Place, items, pairs
from tongqu.testing.conformance.resuming import CHUNKS, Interrupted, breaking
from tongqu.testing.pour import pour
from tongqu.testing.services import Mongodb

TABLE = pa.table({"id": [1, 2, 3, 4, 5], "v": ["a", "b", "a", "c", "b"]})


@contextmanager
def plain(place: Place) -> Iterator[Sink]:
    """A sink that uses no transactions."""
    with place.sink(place.settings.model_copy(update={"transactions": "never"})) as sink:
        yield sink


def ids(database: Any, name: str = "items") -> list[Any]:
    return sorted(one["_id"] for one in database[name].find({}, {"_id": 1}))


@pytest.mark.parametrize("transactions", ["auto", "never"])
@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.UPSERT])
def test_what_a_unique_index_refuses_is_set_aside(
    place: Place, database: Any, transactions: str, mode: WriteMode
) -> None:
    place.put([items([])], place.ask(items([]), mode, run="run 0", incremental=True))
    database.items.create_index([("v", 1)], unique=True)
    with place.sink(place.settings.model_copy(update={"transactions": transactions})) as sink:
        counts = pour(sink, place.ask(TABLE, mode, incremental=True), [TABLE.slice(0, 2), TABLE.slice(2)])
    assert (counts.inserted, counts.quarantined) == (3, 2)
    assert ids(database) == [1, 2, 4]
    assert sorted(row["original"] for row in place.quarantined()) == ['{"id": 3, "v": "a"}', '{"id": 5, "v": "b"}']
    assert {row["code"] for row in place.quarantined()} == {"target.refused"}


def test_a_refused_row_of_several_with_one_key_is_the_last(place: Place, database: Any) -> None:
    place.change(items([1]), run="run 0")
    database.items.create_index([("v", 1)], unique=True)
    rows = pa.table({"id": [2, 2, 3], "v": ["x", "v1", "y"]})
    counts = place.change(rows, run="run 2")
    assert (counts.inserted, counts.quarantined) == (2, 1)
    assert place.rows() == [(1, "v1"), (2, "x"), (3, "y")]


@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE])
def test_without_transactions_a_lost_chunk_is_written_again(place: Place, database: Any, mode: WriteMode) -> None:
    write = place.ask(items([]), mode, incremental=mode is WriteMode.UPSERT, unique=True)
    with plain(place) as sink, pytest.raises(Interrupted):
        pour(sink, write, breaking(CHUNKS, 2))
    stage = [name for name in database.list_collection_names() if "stage" in name]
    target = database[stage[0] if stage else "items"]
    target.insert_many(
        [{"_id": Int64(n), "id": Int64(n), "v": f"v{n}"} for n in range(8, 11)]
    )  # of the chunk that was under way
    with plain(place) as sink:
        counts = pour(sink, replace(write, run="later"), CHUNKS)
    assert place.rows() == pairs(range(20))
    assert (counts.read, counts.quarantined) == (20, 0)


def test_without_transactions_rows_without_key_come_once(place: Place, database: Any) -> None:
    rows = items([1, 1, 1])
    write = place.ask(rows, WriteMode.APPEND, key=())
    with plain(place) as sink, pytest.raises(Interrupted):
        pour(sink, write, breaking([rows, rows], 1))
    with plain(place) as sink:
        pour(sink, write, [rows, rows])
    assert database.items.count_documents({}) == 6
    first, second = (one["_id"].binary for one in database.items.find().sort("_id", 1).limit(2))
    assert int.from_bytes(second, "big") - int.from_bytes(first, "big") == 1


def test_without_transactions_an_overtaken_writer_is_fenced_off(place: Place) -> None:
    write = place.ask(items([]), WriteMode.APPEND)
    with plain(place) as slow:
        slow.start(write.sync, write.run, False)
        slow.open(write)
        with plain(place) as fast:
            pour(fast, write, [items([1])])
        session = slow.session(write, Split("0", "items"))
        with pytest.raises(FencedError):
            session.write(items([2]))
        session.close()
    assert place.rows() == pairs([1])


def test_documents_of_others_are_found_by_a_unique_index(place: Place, database: Any) -> None:
    database.items.insert_many([{"id": 1, "v": "old", "more": 7}, {"id": 2, "v": "v2", "more": 8}])
    with pytest.raises(SchemaError, match="unique index on id"):
        place.change(items([1]), run="run 1")
    database.items.create_index([("id", 1)], unique=True)
    assert done(place.change(items([1, 2, 3]), run="run 2")) == {"inserted": 1, "updated": 1, "unchanged": 1}
    found = [(one["id"], one["v"], one.get("more")) for one in database.items.find().sort("id", 1)]
    assert found == [(1, "v1", 7), (2, "v2", 8), (3, "v3", None)]


def test_an_upsert_leaves_fields_alone_that_do_not_arrive(place: Place, database: Any) -> None:
    place.change(items([1]), run="run 1")
    database.items.update_one({"_id": 1}, {"$set": {"theirs": "kept"}})
    place.change(items([1], "new{}"), run="run 2")
    assert database.items.find_one({"_id": 1}) == {"_id": 1, "id": 1, "v": "new1", "theirs": "kept"}


def test_a_composite_key_is_one_id_and_columns_with_dots_are_documents(place: Place, database: Any) -> None:
    rows = pa.table({"a": [1], "b": ["x"], "addr.city": ["上海"], "addr.geo.lat": [31.2]})
    place.change(rows, run="run 1", key=("a", "b"))
    assert database.items.find_one() == {
        "_id": {"a": 1, "b": "x"}, "a": 1, "b": "x", "addr": {"city": "上海", "geo": {"lat": 31.2}},
    }  # fmt: skip
    assert place.table().to_pylist() == rows.to_pylist()


def test_what_came_from_mongodb_goes_back_as_it_was(place: Place, database: Any) -> None:
    from bson import Decimal128, ObjectId

    document = {
        "_id": ObjectId(),
        "dec": Decimal128("1.50"),
        "n": Int64(5),
        "in": {"o": ObjectId()},
        "list": [1, {"x": 2}],
    }
    database.there.insert_one(document)
    rows = place.table("there")
    place.put([rows], place.ask(rows, WriteMode.REPLACE, name="back", key=("_id",)))
    assert database.back.find_one() == document


def test_replace_keeps_indexes_and_validator(place: Place, database: Any) -> None:
    place.fill(items([1]))
    database.items.create_index([("v", 1)], name="mine", unique=True)
    place.fill(items([2, 3]))
    assert "mine" in database.items.index_information()
    assert not [name for name in database.list_collection_names() if "stage" in name]


def test_json_can_be_written_as_documents(place: Place, database: Any) -> None:
    fields: list[pa.Field[Any]] = [
        pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string(), metadata={"tongqu.logical": "json"}),
    ]  # fmt: skip
    rows = pa.Table.from_arrays(
        [pa.array([1, 2, 3]), pa.array(['{"a": [1, null]}', "null", "not json"])],
        schema=pa.schema(fields),
    )
    settings = place.settings.model_copy(update={"json_values": "documents"})
    with place.sink(settings) as sink:
        counts = pour(sink, place.ask(rows, WriteMode.REPLACE), [rows])
    assert (counts.inserted, counts.quarantined) == (2, 1)
    assert [one["v"] for one in database.items.find().sort("_id", 1)] == [{"a": [1, None]}, None]


def test_a_cut_generation_counts_what_it_did(place: Place, database: Any) -> None:
    place.change(items(range(4)), run="run 1")
    write = place.ask(items([]), WriteMode.UPSERT, run="run 2", deletes=Deletes.HARD)
    chunks: Sequence[pa.Table] = [items([0]), items([1], "new{}"), items([9])]
    with place.sink() as sink, pytest.raises(Interrupted):
        pour(sink, write, breaking(chunks, 2))
    with place.sink() as sink:
        counts = pour(sink, write, chunks)
    assert done(counts) == {"inserted": 1, "updated": 1, "unchanged": 1, "deleted": 2}
    assert ids(database) == [0, 1, 9]


def test_a_chunk_that_a_restarted_server_has_lost_is_written_again(place: Place, mongodb: Mongodb) -> None:
    write, split = place.ask(items([]), WriteMode.APPEND), Split("0", "items")
    with place.sink() as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        sink.begin(write, [split])
        session = sink.session(write, split)
        session.write(items([1]))
        session.commit(Checkpoint(split, {"n": 1}, Counts(read=1, inserted=1)))
        session.write(items([2]))
        mongodb.restart()
        both = Checkpoint(split, {"n": 2}, Counts(read=2, inserted=2), done=True)
        with pytest.raises(ConnectError):
            session.commit(both)
        session.close()
        assert sink.reopen(write).checkpoints["0"].position == {"n": 1}
        session = sink.session(write, split)
        assert session.write(items([2])).inserted == 1
        session.commit(both)
        session.close()
        sink.finish(write, both.counts, None)
        sink.end(write.sync, write.run, [write])
    assert place.rows() == pairs([1, 2])
