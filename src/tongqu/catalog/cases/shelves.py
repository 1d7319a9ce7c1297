"""The records that a pretended system holds: a list of them at every path that gives one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tongqu.catalog.cases.exchanges import answers, good_status, schema_of
from tongqu.catalog.cases.values import Maker, NoValueError, normal
from tongqu.kit.answers.guessing import MORE, TOTALS
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.document import Operation
from tongqu.kit.openapi.lists import records_of
from tongqu.kit.openapi.schemas import Flat, flat

_AT_FIRST = 3
_HOLE = re.compile(r"\{([^}]+)\}")


@dataclass
class Shelf:
    """The records at one path, by the text of their keys."""

    key: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    whole_numbers: bool = False
    holds: bool = True
    """Whether records could be made for it."""

    def add(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Put a record there; one without a key, or with one that is taken, gets the next."""
        value = row.get(self.key)
        if value is None or str(value) in self.rows:
            number = len(self.rows) + 1
            while str(number) in self.rows or f"{self.key}-{number}" in self.rows:
                number += 1
            value = number if self.whole_numbers else f"{self.key}-{number}"
        made = {**row, self.key: value}
        self.rows[str(value)] = made
        return made


class Place(NamedTuple):
    """Where a call leads: to a shelf, or with `item` to the record `key` on it."""

    shelf: Shelf
    item: bool = False
    key: str = ""


class Shelves:
    """The shelves of a document: one for each list, and for each record's own lists; filled when they are asked for."""

    def __init__(self, maker: Maker, operations: Mapping[str, Mapping[str, Operation]]):
        self._maker = maker
        self._operations = operations
        self._held: dict[str, Shelf] = {}

    def shelf(self, path: str, given: Mapping[str, str]) -> Place | None:
        """Where a path leads; None where it is neither a list nor a record of one."""
        if (schema := self._schema(path)) is not None:
            return Place(self._filled(path, given, schema))
        above, hole = _above(path)
        if hole and (schema := self._keyed(above, hole)) is not None:
            shelf = self._filled(above, given, schema, hole)
            return Place(shelf, True, given.get(hole, "")) if shelf.rows else None
        return None

    def missing(self, path: str, given: Mapping[str, str]) -> str:
        """The first brace of a path whose record does not exist; empty if all do."""
        for above, hole in _steps(path):
            schema = self._keyed(above, hole)
            shelf = self._filled(above, given, schema, hole) if schema is not None else None
            if shelf is not None and shelf.holds and given.get(hole, "") not in shelf.rows:
                return hole
        return ""

    def values(self, path: str) -> dict[str, str]:
        """Values for the braces of a path by which records are found; an empty shelf is filled again for it."""
        given: dict[str, str] = {}
        for above, hole in _steps(path):
            schema = self._keyed(above, hole)
            shelf = self._filled(above, given, schema, hole) if schema is not None else Shelf("")
            if schema is not None and shelf.holds and not shelf.rows:
                del self._held[_HOLE.sub(lambda found: given.get(found[1], ""), above)]
                shelf = self._filled(above, given, schema, hole)
            given[hole] = next(iter(shelf.rows), "1")
        return given

    def _shown(self, path: str, hole: str) -> Any:
        """The document's own example of what a brace below a list holds, by which a caller will look; None if none."""
        for below, methods in self._operations.items():
            if hole and f"{below}/".startswith(f"{path}/{{{hole}}}/"):
                for one in next(iter(methods.values())).parameters:
                    if one.get("name") == hole and (shown := schema_of(one).get("example")) is not None:
                        return shown
        return None

    def _schema(self, path: str) -> Flat | None:
        """What a record of the list at a path is; None if there is no list."""
        operation = self._operations.get(path, {}).get("get")
        return shelf_schema(self._maker, operation) if operation is not None else None

    def _keyed(self, path: str, hole: str) -> Flat | None:
        """As `_schema`, for a brace that tells records apart; None for one that is a choice of few."""
        schema = self._schema(path)
        if schema is None or "enum" in flat(self._maker.document, schema.properties.get(_key(schema, hole, path))).raw:
            return None
        return schema

    def _filled(self, path: str, given: Mapping[str, str], schema: Flat, hole: str = "") -> Shelf:
        place = _HOLE.sub(lambda found: given.get(found[1], ""), path)
        if place in self._held:
            return self._held[place]
        if not hole:
            hole = next((h for one in self._operations for above, h in [_above(one)] if h and above == path), "")
        key = _key(schema, hole, path)
        whole = (
            flat(self._maker.document, schema.properties[key]).type == "integer" if key in schema.properties else False
        )
        shelf = Shelf(key, whole_numbers=whole)
        for number in range(_AT_FIRST):
            try:
                row = normal(self._maker, {"properties": schema.properties, "required": sorted(schema.required), "type":
                             "object"}, name=place, number=number)  # fmt: skip
            except NoValueError:
                break
            shown = self._shown(path, hole) if number == 0 else None
            shelf.add(row if shown is None else {**row, key: shown})
        shelf.holds = bool(shelf.rows)
        self._held[place] = shelf
        return shelf


def shelf_schema(maker: Maker, operation: Operation) -> Flat | None:
    """What a record is, of the list that an operation gives; None if it gives none."""
    schema = answers(maker.document, operation).get(str(good_status(maker.document, operation)))
    found = records_of(maker.document, flat(maker.document, schema)) if schema is not None else None
    if found is None or not found[1].properties or not found[1].raw:  # no list, or one of plain values
        return None
    return found[1]


def listed(maker: Maker, schema: Any, rows: list[dict[str, Any]], total: int) -> Any:
    """The answer of a list: its envelope as the schema has it, with these records and their number in all."""
    found = records_of(maker.document, flat(maker.document, schema)) if schema is not None else None
    if found is None:
        return rows
    if not found[0]:
        return rows
    try:
        made = normal(maker, schema)
    except NoValueError:
        made = {}
    here: Any = made
    for name in found[0][:-1]:
        _counted(here, total)
        here = here.setdefault(name, {})
    here[found[0][-1]] = rows
    _counted(here, total)
    return made


def _counted(envelope: Any, total: int) -> None:
    for name in list(envelope):
        if name in TOTALS and isinstance(envelope[name], int) and not isinstance(envelope[name], bool):
            envelope[name] = total
        elif name in MORE and isinstance(envelope[name], bool):
            envelope[name] = False


def _key(schema: Flat, hole: str, path: str) -> str:
    """The field that a path's brace means."""
    if hole in schema.properties:
        return hole
    plain = words.plain(hole)
    near = next((name for name in schema.properties if hole and words.plain(name) == plain), "")
    near = near or next((name for name in schema.properties if hole.endswith(f"_{name}")), "")
    last = _HOLE.sub("", path).rstrip("/").rpartition("/")[2]
    likely = near or words.key_field(schema.properties, last) or hole
    return likely or next(
        (name for name in schema.properties if name in schema.required), next(iter(schema.properties))
    )


def _above(path: str) -> tuple[str, str]:
    """The path without its last brace, and that brace; an empty brace where the path does not end with one."""
    above, _, last = path.rstrip("/").rpartition("/")
    found = _HOLE.fullmatch(last)
    return (above, found[1]) if found else (path, "")


def _steps(path: str) -> list[tuple[str, str]]:
    """Every brace of a path with the path before it."""
    steps, above = [], ""
    for part in path.strip("/").split("/"):
        if found := _HOLE.fullmatch(part):
            steps.append((above, found[1]))
        above = f"{above}/{part}"
    return steps
