"""What is asked of single documents by their keys: deleting and marking them, and whether they are newer or our own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import encode, walking
from tongqu.connectors.mongodb.collection import ID
from tongqu.connectors.mongodb.db import MongodbDb
from tongqu.connectors.mongodb.target import Form
from tongqu.core.errors import RefusedRowsError
from tongqu.kit.sql.landing import DELETED


def delete(db: MongodbDb, name: str, which: Any) -> int:
    """Delete the documents that these conditions (BSON) mean, one each; how many there were."""
    count = len(which)
    limit = pa.array([np.int32(1).tobytes()] * count, pa.binary())
    whole: encode.Elements = [("q", walking.DOCUMENT, which), ("limit", walking.INT32, limit)]
    replies = db.send(name, "delete", "deletes", encode.document(encode.flat(whole), count))
    return sum(int(reply.get("n", 0)) for reply in replies)


def mark(db: MongodbDb, name: str, which: Any, at: datetime) -> int:
    """Mark the documents that these conditions mean and that are not marked yet; how many there were."""
    count = len(which)
    inner = [
        pa.array([one[4:-1] for one in which.to_pylist()], pa.binary()),
        encode.named(DELETED, walking.NULL, pa.nulls(count, pa.binary())),
    ]
    moment = pa.chunked_array([pa.array([at] * count, pa.timestamp("ms"))])
    stamp = encode.values(moment, pa.field(DELETED, moment.type), "text", fraction=False)
    change = [encode.named("$set", walking.DOCUMENT, encode.document(encode.flat(stamp), count))]
    whole: encode.Elements = [
        ("q", walking.DOCUMENT, encode.document(inner, count)),
        ("u", walking.DOCUMENT, encode.document(change, count)),
    ]
    replies = db.send(name, "update", "updates", encode.document(encode.flat(whole), count))
    return sum(int(reply.get("nModified", 0)) for reply in replies)


def older(db: MongodbDb, name: str, form: Form, cursor: str, rows: pa.Table) -> list[int]:
    """The rows that are older, by the cursor, than the document of the same key."""
    import bson

    wanted = list(dict.fromkeys((*form.key, cursor)))
    ours = form.inserts(rows.select(wanted), bytes(8), 0).to_pylist()
    found = []
    for index, which in enumerate(form.which(rows).to_pylist()):
        newer = dict(bson.decode(which)) | {cursor: {"$gt": bson.decode(ours[index]).get(cursor)}}
        if db.one(name, newer) is not None:
            found.append(index)
    return found


def not_ours(
    db: MongodbDb, name: str, documents: Any, refused: Mapping[int, RefusedRowsError]
) -> dict[int, RefusedRowsError]:
    """Without transactions: the refused documents that are not already there, byte for byte, from an attempt whose
    checkpoint was lost."""
    import bson

    left = {}
    for index, error in refused.items():
        data = documents[index].as_py()
        found = db.one(name, {ID: bson.decode(data)[ID]})
        if found is None or bson.encode(found) != data:
            left[index] = error
    return left
