"""Columns of a step's output: that they exist, that no name comes twice, what follows when they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from tongqu.core.arrow import pa
from tongqu.core.data import Dataset, ForeignKey, Index
from tongqu.core.errors import InvalidPlanError, UnknownNameError


def nearest(name: str, valid: Sequence[str], what: str) -> str:
    """`did you mean …?` with the nearest valid name, and all of them."""
    close = get_close_matches(name, valid, n=1) or get_close_matches(name.lower(), [v.lower() for v in valid], n=1)
    guess = next((v for v in valid if close and v.lower() == close[0].lower()), "")
    listing = f"valid {what}: {', '.join(valid) or 'none'}"
    return f"did you mean {guess!r}? {listing}" if guess else listing


def unknown_column(name: str, dataset: Dataset, path: str = "") -> UnknownNameError:
    """The error for a column that is not there, with the valid ones and the nearest."""
    return UnknownNameError(
        f"dataset {dataset.name!r} has no column {name!r}",
        hint=nearest(name, dataset.columns, "columns"),
        path=path,
        params={"column": name, "dataset": dataset.name, "valid": ", ".join(dataset.columns)},
    )


def need_columns(dataset: Dataset, names: Sequence[str]) -> None:
    """Raise UnknownNameError for the first name that is not a column (exact spelling)."""
    present = set(dataset.columns)
    for name in names:
        if name not in present:
            raise unknown_column(name, dataset)


def no_duplicates(names: Sequence[str], verb: str) -> None:
    """Raise InvalidPlanError if a name comes twice among output columns, or is empty."""
    seen: set[str] = set()
    for name in names:
        if not name:
            raise InvalidPlanError(f"{verb} would give a column without a name", hint="give it a name")
        if name in seen:
            raise InvalidPlanError(f"{verb} would give two columns named {name!r}", hint="rename one of them")
        seen.add(name)


def reshaped(dataset: Dataset, fields: Sequence[pa.Field[Any]], origin: Mapping[str, str]) -> Dataset:
    """The dataset with new fields; `origin` maps output columns to the input columns they are exact copies of.

    Key, cursor, indexes and foreign keys follow their columns and are dropped when one of theirs is gone.
    """
    moved: dict[str, str] = {}
    for new, old in origin.items():
        if old not in moved or new == old:
            moved[old] = new

    def follow(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(moved[n] for n in names) if all(n in moved for n in names) else ()

    indexes = tuple(Index(follow(i.columns), i.unique, i.name) for i in dataset.indexes if follow(i.columns))
    foreign = tuple(
        ForeignKey(follow(f.columns), f.target, f.target_columns) for f in dataset.foreign_keys if follow(f.columns)
    )
    return replace(
        dataset,
        schema=pa.schema(list(fields)),
        key=follow(dataset.key),
        cursor=moved.get(dataset.cursor) if dataset.cursor else None,
        indexes=indexes,
        foreign_keys=foreign,
    )
