"""How far an incremental read may go, and in which order it reads."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from tongqu.connectors.mongodb.collection import Collection
from tongqu.connectors.mongodb.kinds import native_of
from tongqu.connectors.mongodb.ranges import dumped, loaded
from tongqu.core.data import Position, Read
from tongqu.core.errors import SchemaError

_TYPES = {
    "date": ["date"],
    "objectId": ["objectId"],
    "number": ["int", "long", "double", "decimal"],
    "text": ["string"],
}


def kind_of(collection: Collection, cursor: str) -> str:
    """What a cursor column holds: `date`, `objectId`, `number` or `text`; raises SchemaError for others."""
    if cursor not in collection.paths:
        hint = f"its columns are: {', '.join(collection.paths)}"
        raise SchemaError(f"{collection.name!r} has no column {cursor!r}", field=cursor, hint=hint)
    field = collection.schema.field(cursor)
    if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
        return "date"
    if native_of(field) == "objectId":
        return "objectId"
    if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type):
        return "number"
    if native_of(field) in ("string", "") and field.type == pa.string() and not field.metadata:
        return "text"
    if native_of(field) == "string":
        return "text"
    raise SchemaError(
        f"{cursor!r} of {collection.name!r} is {native_of(field) or field.type}, which no incremental read can follow",
        path=collection.name, field=cursor, hint="choose a date of change, a number that grows or _id as cursor",
    )  # fmt: skip


def horizon(
    database: Any, collection: Collection, cursor: str, after: Position | None, *, ties: bool, lag: float
) -> Position | None:
    """See Source.horizon. Dates and ObjectIds, which clients make, stay `lag` seconds behind the server's clock (one at
    least where equal values are not read again); numbers and texts go up to the greatest that is there."""
    kind = kind_of(collection, cursor)
    path = ".".join(collection.paths[cursor])
    own = database[collection.source]
    odd = own.count_documents({path: {"$not": {"$type": _TYPES[kind]}}})
    if odd:
        raise SchemaError(
            f"{odd} documents of {collection.name!r} have no {kind} in {cursor!r} and would never be read",
            path=collection.name, field=cursor, hint="fill the field, choose another cursor, or use --mode full",
        )  # fmt: skip
    condition: dict[str, Any] = {}
    back = lag if ties else max(lag, 1.0)
    if kind in ("date", "objectId") and back:
        condition["$lte"] = _bound(database.command("hello")["localTime"] - timedelta(seconds=back), kind)
    if after:
        condition["$gte"] = loaded(after["cursor"][0])
    asked = {path: condition} if condition else {}
    for found in own.find(asked, {path: 1}).sort(path, -1).limit(1):
        value: Any = found
        for part in collection.paths[cursor]:
            value = value[part]
        return {"cursor": [dumped(value)]}
    return after


def _bound(moment: datetime, kind: str) -> Any:
    if kind == "date":
        return moment
    from bson import ObjectId

    return ObjectId.from_datetime(moment)


def condition(read: Read, path: str) -> dict[str, Any]:
    """Which documents an incremental read asks for."""
    spec = read.split.spec
    start = spec.get("after")
    until = read.until if read.until and "cursor" in read.until else spec.get("until")
    made: dict[str, Any] = {}
    if read.after and "cursor" in read.after:
        made["$gt"] = loaded(read.after["cursor"][0])
    elif start:
        made["$gte" if read.ties else "$gt"] = loaded(start["cursor"][0])
    if until:
        made["$lte"] = loaded(until["cursor"][0])
    return {path: made} if made else {}
