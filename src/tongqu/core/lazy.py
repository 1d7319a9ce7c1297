"""A schema that is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Lazy:
    """A schema that is made when it is first asked for, with what the pass lane needs to know without it.

    Importing Arrow takes longer than copying a small table; a stream that never decodes a row never needs it.
    """

    names: tuple[str, ...]
    natives: tuple[str, ...]
    required: tuple[bool, ...]
    make: Callable[[], pa.Schema]
    system: str = ""
    """The connector whose type names `natives` are."""
    titles: tuple[str, ...] = ()
    """The columns' titles; empty if the system has none."""


class SchemaField:
    """A dataclass field that takes a schema or a Lazy one and gives a schema."""

    def __get__(self, instance: object | None, owner: type) -> pa.Schema:
        if instance is None:
            raise AttributeError("schema")  # a field without default
        value: pa.Schema | Lazy = instance.__dict__["_schema"]
        if isinstance(value, Lazy):
            made: pa.Schema = instance.__dict__.get("_made") or value.make()
            instance.__dict__["_made"] = made
            return made
        return value

    def __set__(self, instance: object, value: pa.Schema | Lazy) -> None:
        instance.__dict__["_schema"] = value
