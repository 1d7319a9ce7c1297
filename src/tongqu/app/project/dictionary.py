"""Checks the `datasets` section, the data dictionary: keys, rules and references of each entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.app.project.model import DatasetEntry
from tongqu.app.project.places import Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core.errors import TongquError, UnknownNameError
from tongqu.core.operator import parse_step


def check_dictionary(
    sections: Mapping[str, Mapping[str, Any]], places: Places, problems: list[TongquError]
) -> dict[str, DatasetEntry]:
    """The valid entries by name; what is wrong with the others is added to `problems`."""
    dictionary: dict[str, DatasetEntry] = {}
    for name, values in sections["datasets"].items():
        entry = parse(DatasetEntry, values, ("datasets", name), places, problems)
        if entry:
            dictionary[name] = entry
            _check_entry(name, entry, places, problems)
            _check_rules(name, sections["datasets"], places, problems)
            _check_references(name, entry, sections["connections"], places, problems)
    return dictionary


def _check_entry(name: str, entry: DatasetEntry, places: Places, problems: list[TongquError]) -> None:
    for at, column in enumerate(entry.key):
        if entry.closed and column not in entry.fields:
            problems.append(
                UnknownNameError(
                    f"the key column {column!r} is not a field of the dataset {name!r}",
                    path=places.path(("datasets", name, "key", at)),
                    hint=nearest(column, list(entry.fields)),
                )
            )


def _check_references(
    name: str, entry: DatasetEntry, connections: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> None:
    """The connections that references name are there."""
    for field_name, told in entry.fields.items():
        if told.reference is not None and told.reference.connection not in connections:
            problems.append(
                UnknownNameError(
                    f"there is no connection {told.reference.connection!r}",
                    path=places.path(("datasets", name, "fields", field_name, "reference", "connection")),
                    hint=nearest(told.reference.connection, list(connections)),
                    params={"name": told.reference.connection},
                )
            )


def _check_rules(
    name: str, dictionary: Mapping[str, Mapping[str, Any]], places: Places, problems: list[TongquError]
) -> None:
    """Types, patterns and bounds of the entry are good ones, whether or not a pipeline checks them today."""
    try:
        parse_step({"check": name}, f"datasets.{name}", dictionary)
    except TongquError as error:
        error.path = places.located(error.path)
        problems.append(error)
