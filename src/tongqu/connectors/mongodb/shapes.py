"""Remembers with which columns and key a collection was written, so that it reads back with the very same types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.kit.ledger import PREFIX
from tongqu.kit.originals import schema_of, shape_of

DATASETS = f"{PREFIX}datasets"


@dataclass(frozen=True)
class Shape:
    """The columns of a collection that Tongqu wrote, and its key, whose value is `_id`; which may be none."""

    schema: pa.Schema
    key: tuple[str, ...]


def recall(database: Any, name: str, session: Any = None) -> Shape | None:
    """The shape of a collection; None if Tongqu has not written it."""
    found = database[DATASETS].find_one({"_id": name}, session=session)
    return Shape(schema_of(found["shape"]), tuple(found["key"])) if found else None


def note(database: Any, name: str, schema: pa.Schema, key: Sequence[str], session: Any = None) -> None:
    """Remember the shape of a collection."""
    fields = {"shape": shape_of(schema), "key": list(key)}
    database[DATASETS].update_one({"_id": name}, {"$set": fields}, upsert=True, session=session)


def forget(database: Any, name: str, session: Any = None) -> None:
    """Remember a collection no longer."""
    database[DATASETS].delete_one({"_id": name}, session=session)
