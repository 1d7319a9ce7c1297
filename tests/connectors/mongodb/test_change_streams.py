"""Change streams are followed: what they tell becomes rows, and what they no longer have is said to be gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import bson
import pyarrow as pa
import pytest

from tongqu.connectors.mongodb.log.feed import seen
from tongqu.connectors.mongodb.reach import Reach
from tongqu.connectors.mongodb.settings import from_url
from tongqu.connectors.mongodb.source import MongodbSource
from tongqu.core.data import Batch, Position
from tongqu.core.errors import InvalidPlanError, LostPositionError, ReadError, SchemaError
from tongqu.core.log import Follow, Log
from tongqu.testing.conformance.place import Place, items
from tongqu.testing.services import Mongodb


@dataclass
class Followed:
    """A log that was begun, and how far it was read."""

    log: Log
    position: Position

    def batches(self, **more: Any) -> list[Batch]:
        """What came since the last time, up to the end of the log."""
        found = list(self.log.read(Follow(self.position, until=self.log.head(), **more)))
        self.position = [batch.position for batch in found if batch.position is not None][-1]
        return found

    def changes(self, **more: Any) -> list[dict[str, Any]]:
        """The changed rows since the last time."""
        rows = [row for batch in self.batches(**more) if batch.kind == "rows" for row in batch.rows.to_pylist()]
        return [{name: value for name, value in row.items() if name != "_at"} for row in rows]


Following = Callable[..., Followed]


@pytest.fixture
def following(mongodb_url: str) -> Iterator[Following]:
    """`following("orders")`: the begun log of these collections."""
    with ExitStack() as ends:

        def begin(*names: str, **settings: str) -> Followed:
            more = "".join(f"&{name}={value}" for name, value in settings.items())
            source = MongodbSource(from_url(mongodb_url + more))
            ends.callback(source.close)
            log = source.log("tongqu_test", source.datasets(list(names)))
            ends.callback(log.close)
            return Followed(log, log.begin())

        yield begin


def test_inserts_updates_replacements_and_deletes_are_rows(database: Any, following: Following) -> None:
    database.orders.insert_many([{"_id": n, "v": "old", "at": {"town": "北京"}} for n in range(4)])
    database.parts.insert_one({"_id": "p"})
    followed = following("orders")
    database.orders.insert_one({"_id": 9, "v": "new", "at": {"town": "上海"}})
    database.parts.delete_one({"_id": "p"})
    database.orders.update_one({"_id": 1}, {"$set": {"v": "changed"}})
    database.orders.replace_one({"_id": 2}, {"_id": 2, "v": "other"})
    database.orders.delete_one({"_id": 3})
    assert followed.changes() == [
        {"_id": 9, "v": "new", "at.town": "上海", "_op": "c"},
        {"_id": 1, "v": "changed", "at.town": "北京", "_op": "u"},
        {"_id": 2, "v": "other", "at.town": None, "_op": "u"},
        {"_id": 3, "v": None, "at.town": None, "_op": "d"},
    ]
    assert followed.changes() == []


def test_an_update_shows_the_document_of_the_moment_it_is_read(database: Any, following: Following) -> None:
    """Two updates are told, both with the second one's value; of a document that is gone only its end is."""
    database.orders.insert_many([{"_id": 1, "v": "a"}, {"_id": 2, "v": "a"}])
    followed = following("orders")
    for value in ("b", "c"):
        database.orders.update_many({}, {"$set": {"v": value}})
    database.orders.delete_one({"_id": 2})
    assert [(row["_id"], row["v"], row["_op"]) for row in followed.changes()] == [
        (1, "c", "u"), (1, "c", "u"), (2, None, "d"),
    ]  # fmt: skip


def test_a_delete_shows_the_whole_row_where_the_collection_keeps_images(database: Any, following: Following) -> None:
    database.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    database.orders.insert_many([{"_id": 1, "v": "a"}, {"_id": 2, "v": "a"}])
    followed = following("orders")
    database.orders.update_one({"_id": 2}, {"$set": {"other": 1}})
    database.orders.delete_many({})
    found = followed.batches()
    rows = [row for batch in found for row in batch.rows.to_pylist() if row["_op"] == "d"]
    assert [(row["_id"], row["v"]) for row in rows] == [(1, "a"), (2, "a")]


def test_a_document_with_an_unknown_field_is_set_aside(database: Any, following: Following) -> None:
    database.orders.insert_one({"_id": 1, "v": "a"})
    strict, lenient = following("orders"), following("orders", others="ignore")
    database.orders.insert_many([{"_id": 2, "v": "b", "more": 1}, {"_id": 3, "v": "c"}])
    found = strict.batches()
    (bad,) = [bad for batch in found for bad in batch.bad]
    assert (bad.code, bad.field, [row["_id"] for batch in found for row in batch.rows.to_pylist()]) == (
        "schema.column", "more", [3],
    )  # fmt: skip
    assert [row["_id"] for row in lenient.changes()] == [2, 3]


def test_a_transaction_is_not_cut(mongodb: Mongodb, database: Any, following: Following) -> None:
    """Its rows come in many batches, and the position behind the last of them."""
    database.orders.insert_one({"_id": 0})
    followed = following("orders")
    with mongodb.client() as client, client.start_session() as session, session.start_transaction():
        client[database.name].orders.insert_many([{"_id": n} for n in range(1, 8)], session=session)
    database.orders.insert_one({"_id": 8})
    found = followed.batches(batch_rows=2)
    numbers = [[row["_id"] for row in batch.rows.to_pylist()] for batch in found if batch.kind == "rows"]
    assert [number for some in numbers for number in some] == list(range(1, 9))
    for index, batch in enumerate(found):
        if batch.position is None:
            continue
        behind = {row["_id"] for later in found[index + 1 :] for row in later.rows.to_pylist()}
        again = Followed(followed.log, batch.position).changes() if index + 1 < len(found) else []
        assert {row["_id"] for row in again} == behind


def test_what_tongqu_wrote_is_followed_by_its_own_key(place: Place, database: Any, following: Following) -> None:
    place.fill(items(range(1, 4)))
    two = pa.table({"a": [1, 2], "b.c": ["x", "y"], "v": ["1", "2"]})
    place.fill(two, name="pairs", key=("a", "b.c"))
    followed = following("items", "pairs")
    with place.source() as source:
        keys = {one.name: one.key for one in source.datasets(["items", "pairs"])}
    assert keys == {"items": ("id",), "pairs": ("a", "b.c")}
    database["items"].delete_one({"_id": 2})
    database.pairs.delete_one({"v": "2"})
    assert followed.changes() == [
        {"id": 2, "v": None, "_op": "d"}, {"a": 2, "b.c": "y", "v": None, "_op": "d"},
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["drop", "rename", "replaced"])
def test_a_collection_that_goes_stops_the_log_behind_what_came_before(
    database: Any, following: Following, end: str
) -> None:
    database.orders.insert_one({"_id": 1})
    followed = following("orders")
    database.orders.insert_one({"_id": 2})
    if end == "drop":
        database.orders.drop()
    elif end == "rename":
        database.orders.rename("elsewhere")
    else:
        database.fresh.insert_one({"_id": 7})
        database.fresh.rename("orders", dropTarget=True)
    seen: list[Batch] = []
    with pytest.raises(SchemaError) as told:
        seen += followed.log.read(Follow(followed.position))
    assert "--restart" in told.value.hint
    stream = followed.log.read(Follow(followed.position))
    first = next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert (first.rows.column("_id").to_pylist(), first.position is not None) == ([2], True)
    with pytest.raises(SchemaError):
        list(followed.log.read(Follow(first.position or {})))


def _before_all(position: Position) -> Position:
    """A place before the first operation that the server keeps."""
    token = json.loads(position["token"])
    inner = bson.decode(bytes.fromhex(token["_data"])) | {"s": 0}
    return {**position, "token": json.dumps({"_data": bson.encode(inner).hex()})}


def test_a_place_that_the_server_no_longer_has_is_lost(database: Any, following: Following) -> None:
    database.orders.insert_one({"_id": 1})
    followed = following("orders")
    database.orders.insert_one({"_id": 2})
    followed.changes()
    with pytest.raises(LostPositionError, match="no longer") as told:
        list(followed.log.read(Follow(_before_all(followed.position))))
    assert "--restart" in told.value.hint


def test_a_token_of_mongodb_tells_up_to_when_all_was_seen() -> None:
    """So that the place of an idle stream stays fresh; tokens of other servers tell nothing."""
    assert seen('{"_data": "8263DF9C8E000000022B0429296E1404"}') == (0x63DF9C8E, 1)
    assert seen('{"_data": "8263DF9C8E000000002B0429296E1404"}') == (0x63DF9C8D, 0xFFFFFFFF)
    assert seen('{"_data": "3a00000010730003"}') == (0, 0)


def test_what_cannot_be_followed_is_refused(database: Any, following: Following) -> None:
    database.orders.insert_one({"_id": 1, "items": [{"a": 1}]})
    with pytest.raises(InvalidPlanError, match="array"):
        following("orders.items", nested="children")


def test_the_doctor_looks_at_the_set_the_right_the_log_and_the_images(database: Any, following: Following) -> None:
    database.orders.insert_one({"_id": 1})
    database.create_collection("kept", changeStreamPreAndPostImages={"enabled": True})
    database.kept.insert_one({"_id": 1})
    found = {one.what: one for one in following("orders", "kept").log.examine()}
    assert {what: one.state for what, one in found.items()} == {
        "replica_set": "ok", "change_stream": "ok", "oplog_window": "warning", "images orders": "warning",
        "images kept": "ok",
    }  # fmt: skip
    assert found["images orders"].fix == (
        'db.runCommand({collMod: "orders", changeStreamPreAndPostImages: {enabled: true}})'
    )


def test_a_server_that_is_alone_is_told_how_to_become_a_set(
    database: Any, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.orders.insert_one({"_id": 1})
    followed = following("orders")
    monkeypatch.setattr(Reach, "hello", lambda _: {"maxWireVersion": 21})
    (finding,) = followed.log.examine()
    assert (finding.what, finding.state, "rs.initiate()" in finding.fix) == ("replica_set", "error", True)
    with pytest.raises(ReadError, match="alone"):
        followed.log.begin()


def test_lag_is_the_age_of_the_first_change_that_was_not_read(database: Any, following: Following) -> None:
    database.orders.insert_one({"_id": 1})
    followed = following("orders")
    assert followed.log.lag(followed.position).seconds == 0.0
    database.orders.insert_one({"_id": 2})
    behind = followed.log.lag(followed.position)
    assert behind.seconds is not None
    assert behind.until_loss is not None
    followed.changes()
    assert followed.log.lag(followed.position).seconds == 0.0
