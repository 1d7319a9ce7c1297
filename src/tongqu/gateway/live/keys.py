"""Keys of rows as texts in the feed, and as values that are equal whenever the rows are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from tongqu.gateway.asking import Compare, Condition, Joined
from tongqu.gateway.policy.values import fitted
from tongqu.gateway.publication import Api
from tongqu.kit.serving.texts import dumps, plain
from tongqu.store.feed import Event

Key = tuple[Any, ...]


def key_text(value: Any) -> str:
    """A value of a key as the feed keeps it."""
    told = plain(value)
    return told if isinstance(told, str) else dumps(told).decode()


def key_of(api: Api, told: Mapping[str, str]) -> Key | None:
    """The key as values of its fields' types; None if it is not a whole key of this API."""
    try:
        return tuple(fitted(told[name], api.dataset.schema.field(name)) for name in api.dataset.key) or None
    except (KeyError, ValueError):
        return None


def key_in(api: Api, event: Event) -> Key | None:
    """The key of the row that an event tells of; None if it is not known, or is that of another table's row."""
    if event.op == "touched" or event.place.partition("/")[2] != api.table:
        return None
    return key_of(api, event.key)


def of_api(api: Api, events: Sequence[Event]) -> list[Event]:
    """The events that may change the API's rows."""
    follows = api.changed_by or api.tables
    return [one for one in events if one.place in follows or f"{one.place.partition('/')[0]}/*" in follows]


def one_of(api: Api, keys: Sequence[Key]) -> Condition:
    """The condition that finds the rows of these keys."""
    names = api.dataset.key
    if len(names) == 1:
        return Compare(names[0], "in", tuple(plain(key[0]) for key in keys))
    parts = tuple(
        Joined("and", tuple(Compare(name, "eq", plain(value)) for name, value in zip(names, key, strict=True)))
        for key in keys
    )
    return parts[0] if len(parts) == 1 else Joined("or", parts)


def digest(key: Key) -> int:
    """Eight bytes for a key; two keys share one with a chance below one in a billion for a million keys."""
    return int.from_bytes(blake2b(repr([_same(value) for value in key]).encode(), digest_size=8).digest())


def _same(value: Any) -> Any:
    """A value whose text is the same whenever the values are equal (1.5 and 1.50)."""
    return value.normalize() if hasattr(value, "normalize") and not isinstance(value, str) else value
