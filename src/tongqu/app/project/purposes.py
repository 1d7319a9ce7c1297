"""Checks what the project says about persons: purposes that rules name, and fields that tell whose a row is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app.project.model import DatasetEntry, PurposeEntry
from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core.errors import InvalidSettingsError, TongquError, UnknownNameError

if TYPE_CHECKING:
    from tongqu.gateway.entry import ApiEntry


def check_purposes(
    section: Mapping[str, Any],
    apis: Mapping[str, ApiEntry],
    dictionary: Mapping[str, DatasetEntry],
    places: Places,
    problems: list[TongquError],
) -> dict[str, PurposeEntry]:
    """The valid purposes by name. Where the project declares any, access rules may name only these."""
    valid: dict[str, PurposeEntry] = {}
    for name, values in section.items():
        entry = parse(PurposeEntry, values or {}, ("purposes", name), places, problems)
        if entry is not None:
            valid[name] = entry
    for api, found in apis.items() if section else ():
        for key, purpose in _named(found):
            if purpose not in section:
                problems.append(
                    UnknownNameError(
                        f"there is no purpose {purpose!r}",
                        path=places.path(("apis", api, "access", *key)),
                        hint=nearest(purpose, list(section)),
                        params={"name": purpose},
                    )
                )
    for dataset, told in dictionary.items():
        for identity, field in told.subject.items():
            if told.fields and field not in told.fields:
                problems.append(
                    UnknownNameError(
                        f"there is no field {field!r}",
                        path=places.path(("datasets", dataset, "subject", identity)),
                        hint=nearest(field, list(told.fields)),
                        params={"name": field},
                    )
                )
        if told.erase is not None and not told.subject:
            problems.append(
                InvalidSettingsError(
                    "`erase` says what becomes of a person's rows, and no field tells whose they are",
                    path=places.path(("datasets", dataset, "erase")),
                    hint="subject: {employee: FIELD}",
                )
            )
    return valid


def _named(entry: ApiEntry) -> Iterator[tuple[Key, str]]:
    for name, field in entry.access.fields.items():
        for purpose in field.purposes:
            yield ("fields", name, "purposes"), purpose
        for purpose in field.mask.purposes if field.mask else ():
            yield ("fields", name, "mask", "purposes"), purpose
    for number, rule in enumerate(entry.access.rules):
        for purpose in rule.purposes:
            yield ("rules", number, "purposes"), purpose
