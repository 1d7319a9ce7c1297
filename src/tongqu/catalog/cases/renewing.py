"""Brings a file of cases up to date with its operation, and never touches what somebody wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.catalog.cases.entries import CaseEntry, CaseFile, digest, plain


@dataclass(frozen=True)
class Renewed:
    """A file brought up to date: its new values, and the ids of cases by what happened to them."""

    values: dict[str, Any]
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Generated ones that nobody had edited, made anew."""
    edited: tuple[str, ...] = ()
    """Left as somebody edited them, though they would be made otherwise now."""
    own: tuple[str, ...] = ()
    """Somebody's own."""
    obsolete: tuple[str, ...] = ()
    """No longer made from the document; left where they are."""

    @property
    def differs(self) -> bool:
        """Whether the file must be written."""
        return bool(self.new or self.changed)


@dataclass
class _Sorted:
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    obsolete: list[str] = field(default_factory=list)


def edited(case: Mapping[str, Any]) -> bool:
    """Whether a case as it stands in a file is no longer as it was generated; one's own is."""
    return not case.get("made") or case["made"] != digest(case)


def renewed(held: Mapping[str, Any] | None, made: CaseFile) -> Renewed:
    """The values of a file: those held with what is new and what changed. Cases keep their order, new ones follow.
    `seed` and `values` of the file stay."""
    fresh: dict[str, CaseEntry] = {case.id: case for case in made.cases}
    if held is None:
        values = {**_head(made), "cases": [_written(case) for case in made.cases]}
        return Renewed(values, new=tuple(fresh))
    told = _Sorted()
    cases: list[Any] = []
    for one in held.get("cases") or ():
        id = str(one.get("id", ""))
        now = fresh.pop(id, None)
        if now is None:
            (told.obsolete if one.get("made") else told.own).append(id)
            cases.append(one)
        elif edited(one):
            if not one.get("made"):
                told.own.append(id)
            elif one["made"] != now.made:
                told.edited.append(id)
            cases.append(one)
        elif one["made"] != now.made:
            told.changed.append(id)
            kept = {"enabled": one["enabled"]} if "enabled" in one else {}
            cases.append({**_written(now), **kept})
        else:
            cases.append(one)
    told.new = list(fresh)
    cases += [_written(case) for case in fresh.values()]
    kept_head = {name: held[name] for name in ("seed", "values") if name in held}
    values = {**_head(made), **kept_head, "cases": cases}
    return Renewed(
        values, tuple(told.new), tuple(told.changed), tuple(told.edited), tuple(told.own), tuple(told.obsolete)
    )


def _head(made: CaseFile) -> dict[str, Any]:
    head: dict[str, Any] = {
        "connection": made.connection, "operation": made.operation, "document": made.document, "seed": made.seed
    }  # fmt: skip
    if made.needs:
        head["needs"] = list(made.needs)
        head["values"] = {}
    return head


def _written(case: CaseEntry) -> dict[str, Any]:
    return {**plain(case), "made": case.made}
