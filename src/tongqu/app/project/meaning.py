"""Lets what the data dictionary says about fields ride with them, in Arrow field metadata."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tongqu.app.project.model import DatasetEntry, FieldEntry
from tongqu.core.arrow import pa
from tongqu.core.data import Dataset, Meta


def described(dataset: Dataset, entry: DatasetEntry | None) -> Dataset:
    """The dataset with titles, units, classes, owners and masks of its entry; the system's own titles give way.

    A dataset without key takes the entry's key if it has those columns.
    """
    if entry is None:
        return dataset
    fields = [
        _with(field, entry.fields[field.name], entry.owner) if field.name in entry.fields else field
        for field in dataset.schema
    ]
    key = dataset.key or (entry.keys if set(entry.keys) <= set(dataset.columns) else ())
    title = entry.title.get("zh") or entry.title.get("en") or dataset.title
    metadata: dict[Any, Any] = dict(dataset.schema.metadata or {})
    return replace(dataset, schema=pa.schema(fields, metadata=metadata or None), key=key, title=title)


def _with(field: pa.Field[Any], entry: FieldEntry, owner: str | None) -> pa.Field[Any]:
    told = {
        Meta.TITLE: entry.title.get("zh") or entry.title.get("en") or entry.description,
        Meta.UNIT: entry.unit,
        Meta.CLASS: entry.class_,
        Meta.OWNER: entry.owner or owner,
        Meta.MASK: entry.mask,
    }
    metadata: dict[Any, Any] = dict(field.metadata or {})
    metadata |= {key.value.encode(): value.encode() for key, value in told.items() if value}
    return field.with_metadata(metadata)
