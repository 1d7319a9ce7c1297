"""Merges a staged generation into a collection inside the server, in steps that can each be done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from tongqu.connectors.mongodb.collection import ID
from tongqu.connectors.mongodb.shapes import DATASETS
from tongqu.core.data import Deletes, Written
from tongqu.kit.sql.landing import DELETED, Landing

_AT_ONCE = 10_000


def merged(database: Any, landing: Landing, stage: str, loaded: int, *, marked: bool, at: datetime) -> Written:
    """Bring the target to the staged documents by `_id`; `loaded` is how many rows went into the stage, `marked`
    whether the target has marks of soft deletes, `at` the moment such a mark says.

    What will be done is counted and noted before anything is, so that an attempt that was cut off counts the same.
    """
    write = landing.write
    target = write.dataset.name
    noted = (database[DATASETS].find_one({"_id": stage}) or {}).get("merge")
    if noted is None:
        noted = _counted(database, landing, stage, loaded, marked=marked)
        database[DATASETS].update_one({"_id": stage}, {"$set": {"merge": noted}}, upsert=True)
    steps: list[Mapping[str, Any]] = [{"$addFields": {DELETED: None}}] if marked else []
    database[stage].aggregate([
        *steps, {"$merge": {"into": target, "on": ID, "whenMatched": "merge", "whenNotMatched": "insert"}}
    ])  # fmt: skip
    if write.deletes is not Deletes.IGNORE:
        for ids in _chunks(_gone(database, landing, stage)):
            which = {ID: {"$in": ids}}
            if write.deletes is Deletes.SOFT:
                database[target].update_many(which, {"$set": {DELETED: at}})
            else:
                database[target].delete_many(which)
    return Written(**noted)


def _counted(database: Any, landing: Landing, stage: str, loaded: int, *, marked: bool) -> dict[str, int]:
    heads = dict.fromkeys(name.partition(".")[0] for name in landing.write.dataset.columns)
    equal: list[Any] = [{"$eq": [f"${name}", f"$target.{name}"]} for name in heads if name != ID]
    if marked:
        equal.append({"$eq": [{"$ifNull": [f"$target.{DELETED}", None]}, None]})
    state = {
        "$cond": [{"$eq": [{"$type": "$target"}, "missing"]}, "new", {"$cond": [{"$and": equal}, "same", "changed"]}]
    }
    steps = [
        {"$lookup": {"from": landing.write.dataset.name, "localField": ID, "foreignField": ID, "as": "target"}},
        {"$unwind": {"path": "$target", "preserveNullAndEmptyArrays": True}},
        {"$group": {"_id": state, "rows": {"$sum": 1}}},
    ]
    found = {one["_id"]: int(one["rows"]) for one in database[stage].aggregate(steps)}
    gone = 0
    if landing.write.deletes is not Deletes.IGNORE:
        gone = sum(1 for _ in _gone(database, landing, stage))
    return {
        "inserted": found.get("new", 0), "updated": found.get("changed", 0), "unchanged": found.get("same", 0),
        "deleted": gone, "merged": loaded - sum(found.values()),
    }  # fmt: skip


def _gone(database: Any, landing: Landing, stage: str) -> Iterator[Any]:
    """`_id` of the target's documents that the stage has not, and that are not marked yet."""
    steps: list[Mapping[str, Any]] = [{"$match": {DELETED: None}}] if landing.write.deletes is Deletes.SOFT else []
    steps += [
        {"$project": {ID: 1}},
        {"$lookup": {"from": stage, "localField": ID, "foreignField": ID, "as": "stage"}},
        {"$match": {"stage": {"$size": 0}}},
        {"$project": {ID: 1}},
    ]
    for one in database[landing.write.dataset.name].aggregate(steps):
        yield one[ID]


def _chunks(ids: Iterator[Any]) -> Iterator[list[Any]]:
    while part := list(islice(ids, _AT_ONCE)):
        yield part
