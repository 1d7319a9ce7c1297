"""Rows as they were read made the objects that were asked for; where both are the same, bytes stay untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import orjson

from tongqu.kit.serving.texts import dumps, parsed


class Item(Protocol):
    """One member of an object."""

    @property
    def key(self) -> str:
        """Its name in the answer."""
        ...

    @property
    def plain(self) -> bool:
        """Whether the row already has it, under that name and in that form."""
        ...

    def value(self, row: Mapping[str, Any]) -> Any:
        """Its value of a row."""
        ...


@dataclass(frozen=True)
class Own:
    """A value of the row, which is named `inner` there; a number as text where `text`."""

    key: str
    inner: str
    text: bool = False

    @property
    def plain(self) -> bool:
        """See Item."""
        return self.key == self.inner and not self.text

    def value(self, row: Mapping[str, Any]) -> Any:
        """See Item."""
        found = row[self.inner]
        if not self.text or found is None or isinstance(found, str):
            return found
        return format(found, "f") if isinstance(found, Decimal) else str(found)


@dataclass(frozen=True)
class Said:
    """The same in all rows: the name of their type."""

    key: str
    text: str
    plain: bool = False

    def value(self, row: Mapping[str, Any]) -> Any:
        """See Item."""
        del row
        return self.text


@dataclass(frozen=True)
class Shape:
    """An object: its members in order. `hidden`: the row has more than these."""

    items: tuple[Item, ...]
    hidden: bool = False

    @property
    def plain(self) -> bool:
        """Whether rows already look like it."""
        return not self.hidden and all(item.plain for item in self.items)

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The object of a row."""
        return {item.key: item.value(row) for item in self.items}


NOTHING = Shape(())
"""An object without members."""


@dataclass(frozen=True)
class Inside:
    """An object made of the same row."""

    key: str
    shape: Shape
    plain: bool = False

    def value(self, row: Mapping[str, Any]) -> Any:
        """See Item."""
        return self.shape.of(row)


@dataclass(frozen=True)
class Below:
    """Related rows, which are named `inner` in the row."""

    key: str
    inner: str
    shape: Shape

    @property
    def plain(self) -> bool:
        """See Item."""
        return self.key == self.inner and self.shape.plain

    def value(self, row: Mapping[str, Any]) -> Any:
        """See Item."""
        found = row[self.inner]
        if isinstance(found, list):
            return [self.shape.of(one) for one in found]
        return None if found is None else self.shape.of(found)


def listed(body: bytes, shape: Shape) -> orjson.Fragment:
    """A JSON array of rows as objects."""
    if shape.plain:
        return orjson.Fragment(body)
    return orjson.Fragment(dumps([shape.of(row) for row in parsed(body.decode())]))


def single(body: bytes, shape: Shape) -> orjson.Fragment | None:
    """The one row of a JSON array as an object; None if there is none."""
    rows = body.strip()
    if rows in (b"[]", b""):
        return None
    if shape.plain:
        return orjson.Fragment(rows[1:-1])
    return orjson.Fragment(dumps(shape.of(parsed(rows.decode())[0])))
