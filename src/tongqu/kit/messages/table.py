"""One dataset of a broker: how its messages become rows, whatever broker they come from."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.data import Dataset, Meta
from tongqu.core.log import ORIGIN, UNCHANGED
from tongqu.kit.messages.parsed import Decoded, Messages
from tongqu.kit.messages.reader import Reader
from tongqu.kit.messages.registry import SchemaRegistry


def json_column(name: str) -> pa.Field[Any]:
    """A column of JSON texts."""
    return pa.field(name, pa.string(), metadata={Meta.LOGICAL.value: "json"})


def json_texts(held: Sequence[Any]) -> Any:
    """JSON texts of values; null for None."""
    return pa.array([None if one is None else json.dumps(one, ensure_ascii=False) for one in held], pa.string())


def instants(held: Sequence[int | None], kind: pa.DataType) -> Any:
    """Times of a type, of numbers of its unit since 1970; null for one that is beyond what the type holds."""
    fits = [one if one is not None and -(1 << 63) <= one < 1 << 63 else None for one in held]
    return pa.array(fits, pa.int64()).cast(kind)


@dataclass(frozen=True)
class MessageTable(ABC):
    """A dataset whose fields are known. Subclasses say what the messages of their broker are like; their settings are
    `MessageSettings` with `metadata`, the names of columns of what the broker tells."""

    dataset: str
    settings: Any
    fields: tuple[pa.Field[Any], ...]
    key: tuple[str, ...]
    registry: SchemaRegistry | None = None

    offers: ClassVar[Mapping[str, pa.Field[Any]]] = {}
    """The columns that `metadata` may name."""
    unique: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Which of these tell rows apart where the messages have no key: the first that are all there."""

    def described(self) -> Dataset:
        """The dataset."""
        named = set(self.settings.metadata)
        own = next((names for names in self.unique if named.issuperset(names)), ())
        return Dataset(self.dataset, pa.schema([*self.fields, *self._meta]), key=self.key or own)

    @property
    def _meta(self) -> list[pa.Field[Any]]:
        return [self.offers[name] for name in self.settings.metadata]

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.settings, self.fields, self.key, self._meta, self.registry)

    def rows(self, messages: Sequence[Any]) -> Decoded:
        """The broker's messages as rows."""
        meta = {name: self.column(name, messages) for name in self.settings.metadata}
        given = Messages(
            self.values(messages), self.keys(messages), lambda n: self.place(messages[n]),
            lambda n: self.details(messages[n]), meta,
        )  # fmt: skip
        decoded = self._reader.decode(given)
        if not self.settings.changes:
            return decoded
        return with_origin(decoded, self.origins([messages[place] for place in decoded.places.tolist()]))

    @abstractmethod
    def values(self, messages: Sequence[Any]) -> Sequence[bytes | None]:
        """What messages hold; None where one tells that its key is gone."""

    @abstractmethod
    def keys(self, messages: Sequence[Any]) -> Sequence[bytes | None]:
        """The keys of their rows; may be empty where the envelope is not `upsert`."""

    @abstractmethod
    def origins(self, messages: Sequence[Any]) -> list[str | None]:
        """The syncs that messages come of, where their writers told."""

    @abstractmethod
    def place(self, message: Any) -> str:
        """How an error calls a message."""

    @abstractmethod
    def details(self, message: Any) -> Mapping[str, Any]:
        """What a bad row keeps beside the raw bytes."""

    @abstractmethod
    def column(self, name: str, messages: Sequence[Any]) -> Any:
        """A column of what the broker tells, of the type in `offers`."""


def held(bodies: Sequence[bytes], envelope: str) -> list[bytes | None]:
    """What messages hold, of brokers that know no null: an empty one is none where messages tell the newest state."""
    return [body or None for body in bodies] if envelope == "upsert" else list(bodies)


def with_origin(decoded: Decoded, origins: Sequence[str | None]) -> Decoded:
    """The changes with who made each, if anybody is told."""
    if not any(origins):
        return decoded
    names = decoded.rows.schema.names
    place = names.index(UNCHANGED) if UNCHANGED in names else len(names)
    return replace(decoded, rows=decoded.rows.add_column(place, ORIGIN, pa.array(origins, pa.string())))
