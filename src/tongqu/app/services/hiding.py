"""Hides values in the examples of a comparison, as the data dictionary's classes and masks say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from tongqu.app.project.load import Project
from tongqu.app.project.model import DatasetEntry, FieldEntry
from tongqu.meaning.masks import Kind, Mask, masked_value

CLOSED = ("personal", "sensitive", "secret")
"""Classes of fields whose values are not shown."""
_NOTHING = "***"
_OF_TEXT = {"name", "phone", "id_card", "bank_card", "email"} & set(get_args(Kind))
"""Masks that need no settings of their own."""


def hidden(document: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """The document of a `diff` in which values of fields with a mask or of a closed class are masked, else `***`."""
    return {**document, "tables": [_table(table, project) for table in document["tables"]]}


def _table(table: Mapping[str, Any], project: Project) -> dict[str, Any]:
    fields = {
        column.lower(): field
        for name in (table["name"], table["target"])
        for entry in _entries(name, project)
        for column, field in entry.fields.items()
        if field.mask or field.class_ in CLOSED
    }
    return {**table, "examples": [_example(one, table["key"], fields) for one in table["examples"]]}


def _entries(dataset: str, project: Project) -> Iterator[DatasetEntry]:
    """The entries that describe a table: of its name, or bound to it by a pipeline that reads or writes it."""
    names = {dataset, dataset.rpartition(".")[2]}
    told = set(names)
    for entry in project.pipelines.values():
        written = {end.dataset for end in entry.all_sinks.values()}
        for end in entry.all_sources.values():
            if names & {end.dataset, *written}:
                told |= {name for name in (end.as_, end.dataset) if name}
    for name in sorted(told):
        if name in project.dictionary:
            yield project.dictionary[name]


def _example(example: Mapping[str, Any], key: list[str], fields: Mapping[str, FieldEntry]) -> dict[str, Any]:
    shown = dict(example)
    if len(key) == len(example["key"]):
        shown["key"] = [
            _value(fields.get(name.lower()), value) for name, value in zip(key, example["key"], strict=True)
        ]
    if "columns" in example:
        shown["columns"] = {
            name: {side: _value(fields.get(name.lower()), value) for side, value in sides.items()}
            for name, sides in example["columns"].items()
        }
    return shown


def _value(field: FieldEntry | None, value: Any) -> Any:
    if field is None or value is None:
        return value
    if field.class_ != "secret" and field.mask in _OF_TEXT and isinstance(value, str):
        return masked_value(Mask.model_validate({"with": field.mask}), value)
    return _NOTHING
