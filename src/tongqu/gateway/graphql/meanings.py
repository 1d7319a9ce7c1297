"""What a field of the schema stands for; hangs on it, so that operations are read without looking anything up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tongqu.gateway.graphql.exposed import Exposed

_KEY = "tongqu"
Root = Literal["page", "one", "groups"]
Change = Literal["insert", "upsert", "update", "update_one", "delete", "delete_one"]


@dataclass(frozen=True)
class Value:
    """A field of the API, or an aggregate of it where it stands inside `sum` and the like."""

    field: str


@dataclass(frozen=True)
class Reached:
    """Rows, or groups of rows, of a related API."""

    relation: str
    to: Exposed
    groups: bool


@dataclass(frozen=True)
class Asked:
    """A query of an API."""

    kind: Root
    of: Exposed


@dataclass(frozen=True)
class Changed:
    """A mutation of an API's rows."""

    kind: Change
    of: Exposed


@dataclass(frozen=True)
class Part:
    """A part of an answer that has its own place: `nodes`, `pageInfo`, `totalCount`, `by`, `count`, `sum` ..."""

    name: str


Meaning = Value | Reached | Asked | Changed | Part


def means(meaning: Meaning) -> dict[str, Any]:
    """The extensions of a field that means this."""
    return {_KEY: meaning}


def meaning_of(field: Any) -> Any:
    """What a field of the schema means."""
    return field.extensions[_KEY]
