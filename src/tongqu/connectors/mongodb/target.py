"""What a stream writes into: the collection, by what its documents are found again, and how rows become documents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import encode
from tongqu.connectors.mongodb import walking as bson
from tongqu.connectors.mongodb.collection import ID
from tongqu.connectors.mongodb.settings import MongodbSettings
from tongqu.core.data import Split, Write
from tongqu.kit.sql.landing import DELETED, Landing


@dataclass(frozen=True)
class Form:
    """How rows of one stream become documents.

    `by_id`: the key is the value of `_id`. If not, documents that others made are found by their fields.
    """

    settings: MongodbSettings
    key: tuple[str, ...]
    by_id: bool
    marks: bool = False
    """Whether rows that are written clear the mark of a soft delete."""

    def parts(self, rows: pa.Table) -> encode.Elements:
        """The columns as BSON."""
        fraction = self.settings.fraction == "keep"
        made: encode.Elements = []
        for field in rows.schema:
            how = self.settings.json_values
            made += encode.values(rows.column(field.name), field, how, fraction=fraction)
        if self.marks and DELETED not in rows.column_names:
            made.append((DELETED, bson.NULL, pa.nulls(rows.num_rows, pa.binary())))
        return made

    def inserts(self, rows: pa.Table, token: bytes, first: int) -> Any:
        """Whole documents; where the rows bring no `_id` of their own it is the key, or made of `token` and a number
        from `first` on."""
        parts, count = self.parts(rows), rows.num_rows
        names = [name for name, _, _ in parts]
        if ID not in names:
            by_key = self.by_id and bool(self.key)
            identity = encode.key_of(parts, self.key, count) if by_key else encode.numbered(token, first, count)
            parts = [(ID, *identity), *parts]
        else:
            parts.sort(key=lambda part: part[0] != ID)
        return encode.document(encode.nested(parts, count), count)

    def which(self, rows: pa.Table) -> Any:
        """For each row the condition that its key makes, as a document."""
        keys = rows.select(list(self.key))
        parts, count = Form(self.settings, self.key, self.by_id).parts(keys), rows.num_rows
        if self.by_id:
            return encode.document([encode.named(ID, *encode.key_of(parts, self.key, count))], count)
        own = [part for part in parts if part[0] in self.key]
        return encode.document(encode.flat(own), count)

    def updates(self, rows: pa.Table) -> Any:
        """For each row the statement that gives the document of its key these values, making it if there is none."""
        count = rows.num_rows
        parts = [part for part in self.parts(rows) if part[0] != ID]
        if not self.by_id:
            parts = [part for part in parts if part[0] not in self.key]
        changed = [("u", bson.DOCUMENT, self._set(parts, count))]
        statement = [("q", bson.DOCUMENT, self.which(rows)), *changed, ("upsert", bson.BOOLEAN, _all(b"\1", count))]
        return encode.document(encode.flat(statement), count)

    def _set(self, parts: encode.Elements, count: int) -> Any:
        verb = "$set" if parts else "$setOnInsert"
        return encode.document([encode.named(verb, bson.DOCUMENT, encode.document(encode.flat(parts), count))], count)

    def replacements(self, rows: pa.Table, token: bytes, first: int) -> Any:
        """For each row the statement that puts its whole document in place of that of its key."""
        count = rows.num_rows
        statement: encode.Elements = [
            ("q", bson.DOCUMENT, self.which(rows)), ("u", bson.DOCUMENT, self.inserts(rows, token, first)),
            ("upsert", bson.BOOLEAN, _all(b"\1", count)),
        ]  # fmt: skip
        return encode.document(encode.flat(statement), count)

    def last_of_each(self, rows: pa.Table) -> pa.Table:
        """The rows without those whose key comes again further down."""
        numbers = pa.array(np.arange(rows.num_rows))
        keys = pa.table({"key": self.which(rows), "number": numbers})
        last = keys.group_by("key").aggregate([("number", "max")]).column("number_max")
        return rows if len(last) == rows.num_rows else rows.take(pa.array(np.sort(np.asarray(last))))


def _all(data: bytes, rows: int) -> Any:
    return pa.array([data] * rows, pa.binary())


def place(landing: Landing) -> str:
    """The collection that rows are sent to; what is merged goes straight into the target."""
    return landing.write.dataset.name if landing.merges else landing.into


def token(write: Write, split: Split) -> bytes:
    """What the `_id` of rows without key begin with: the same whenever the same split of the same run is done again."""
    text = "\0".join((write.sync, write.run, write.stream, split.id))
    return hashlib.sha256(text.encode()).digest()[:8]


def unique_on(indexes: Sequence[Any], key: Sequence[str]) -> bool:
    """Whether an index of the server allows each value of these fields once."""
    return any(one.get("unique") and set(one["key"]) == set(key) for one in indexes)
