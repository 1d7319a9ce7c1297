"""The catalogue of personal data, and the tables behind published APIs that persons are searched in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.project.apis import address
from tongqu.app.project.model import DatasetEntry, FieldEntry
from tongqu.app.services.sheets import written
from tongqu.core.errors import InvalidSettingsError

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.gateway.entry import ApiEntry

_COLUMNS = ("dataset", "field", "title", "class", "mask", "owner", "identifies", "erase", "apis", "pipelines")
PERSONAL = ("personal", "sensitive", "secret")
"""Classes of fields that tell something of a person."""


@dataclass
class Place:
    """A table behind published APIs. `meaning` is the name of its entry in the dictionary, empty without one."""

    connection: str
    table: str
    meaning: str
    entry: DatasetEntry
    apis: list[str] = field(default_factory=list)

    @property
    def personal(self) -> list[str]:
        """The fields that tell something of a person, those that tell whose a row is among them."""
        named = [name for name, told in self.entry.fields.items() if told.class_ in PERSONAL]
        return list(dict.fromkeys([*self.entry.subject.values(), *named]))


def places(project: Project) -> list[Place]:
    """The published tables, each once; not those behind queries."""
    found: dict[tuple[str, str], Place] = {}
    for name, entry in project.apis.items():
        table = entry.source.dataset
        if table is None:
            continue
        meaning = entry.source.as_ or table
        told = project.dictionary.get(meaning)
        place = found.get((entry.source.connection, table))
        if place is None or (told is not None and told.subject and not place.entry.subject):
            apis = place.apis if place else []
            place = Place(entry.source.connection, table, meaning if told else "", told or DatasetEntry(), apis)
            found[entry.source.connection, table] = place
        place.apis.append(path(name, entry))
    return list(found.values())


def path(name: str, entry: ApiEntry) -> str:
    """The address of an API."""
    version, shown = address(name, entry)
    return f"/api/{version}/{shown}"


def catalogue(project: Project) -> dict[str, Any]:
    """Every field of the dictionary that tells something of a person, with who sees it through which API and how, and
    which pipelines move it; what cannot be searched or erased is among `problems`."""
    fields = [
        {
            "dataset": name,
            "field": column,
            "title": told.title.get("zh") or told.title.get("en") or told.description,
            "class": told.class_ or "",
            "mask": told.mask or "",
            "owner": told.owner or entry.owner or "",
            "identifies": next((i for i, own in entry.subject.items() if own == column), ""),
            "erase": entry.erase or "",
            "apis": [_shown(column, told, api, one) for api, one in project.apis.items() if _of(one, name, column)],
            "pipelines": sorted(_pipelines(project, name)),
        }
        for name, entry in project.dictionary.items()
        for column, told in _personal(entry)
    ]
    return {"fields": fields, "problems": list(_problems(project))}


def kept(document: Mapping[str, Any], file: Path) -> None:
    """Write the fields of a catalogue into a new file of mode 0600: CSV where its name ends with `.csv`, else JSON
    lines. Raises InvalidSettingsError where it cannot be made."""
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise InvalidSettingsError(
            f"{file} cannot be made: {error.strerror}", path="--file", hint="name a new file in a folder that is there"
        ) from error
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        written(document["fields"], stream, _COLUMNS if file.suffix == ".csv" else ())


def _personal(entry: DatasetEntry) -> Iterator[tuple[str, FieldEntry]]:
    for name in dict.fromkeys([*entry.fields, *entry.subject.values()]):
        told = entry.fields.get(name, FieldEntry())
        if told.class_ in PERSONAL or name in entry.subject.values():
            yield name, told


def _of(api: ApiEntry, dataset: str, column: str) -> bool:
    meaning = api.source.as_ or api.source.dataset
    return meaning == dataset and (api.fields is None or column in api.fields)


def _shown(column: str, told: FieldEntry, name: str, api: ApiEntry) -> dict[str, Any]:
    """Who sees the field by the rules of one API: as it is, masked, for which purposes."""
    rule = api.access.fields.get(column)
    plain = set(rule.roles) if rule else set()
    for one in api.access.rules:
        if one.effect == "allow" and column in one.fields and rule is None:
            plain |= set(one.roles) or {"*"}
    open_ = told.class_ not in PERSONAL and rule is None
    if open_:
        plain |= {"*"} if api.access.public else set(api.access.roles)
    masked = rule is not None and (rule.otherwise == "mask" or rule.mask is not None)
    how = (rule.mask.with_ if rule and rule.mask else told.mask or "") if masked else ""
    purposes = [*(rule.purposes if rule else ()), *(rule.mask.purposes if rule and rule.mask else ())]
    return {"path": path(name, api), "roles": sorted(plain), "mask": how, "purposes": sorted(set(purposes))}


def _pipelines(project: Project, dataset: str) -> Iterator[str]:
    for name, entry in project.pipelines.items():
        read = {told.as_ or told.dataset for told in entry.all_sources.values()}
        written = {told.dataset for told in entry.all_sinks.values()}
        if dataset in read | written:
            yield name


def _problems(project: Project) -> Iterator[Mapping[str, str]]:
    for place in places(project):
        where = f"datasets.{place.meaning}"
        if place.personal and not place.entry.subject:
            yield _note(where, "privacy.unbound", f"{place.table} tells of persons, and no field tells whose a row is",
                        "subject: {employee: FIELD}")  # fmt: skip
        elif place.entry.subject and place.entry.erase is None:
            yield _note(f"{where}.erase", "privacy.undecided", f"nobody said what erasing does to {place.table}",
                        "erase: delete, clear or keep")  # fmt: skip
    for name, entry in project.apis.items():
        if entry.source.query is not None:
            yield _note(f"apis.{name}.source.query", "privacy.query",
                        f"{path(name, entry)} comes from a query: persons are searched in its tables only if they are "
                        "published themselves", "publish the tables under their own names, with no roles")  # fmt: skip


def _note(path: str, code: str, message: str, hint: str) -> dict[str, str]:
    return {"path": path, "code": code, "message": message, "hint": hint, "level": "warning"}
