"""Checks the sections of the gateway: `apis` against each other and the project, `gateway` by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core import registry
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, TongquError, UnknownNameError
from tongqu.gateway.publication import DRAFT

if TYPE_CHECKING:
    from tongqu.app.project.model import DatasetEntry
    from tongqu.gateway.entry import ApiEntry
    from tongqu.gateway.settings import GatewayEntry

Address = tuple[str, str]
"""Version and name of an API, as they stand in its address."""


def check_apis(
    section: Mapping[str, Any],
    connections: Mapping[str, Any],
    dictionary: Mapping[str, DatasetEntry],
    places: Places,
    problems: list[TongquError],
) -> dict[str, ApiEntry]:
    """The valid entries by name; what is wrong with the others is added to `problems`."""
    if not section:
        return {}
    from tongqu.gateway.entry import ApiEntry

    parsed: dict[str, ApiEntry] = {}
    for name, values in section.items():
        entry = parse(ApiEntry, values or {}, ("apis", name), places, problems)
        if entry is not None:
            parsed[name] = entry
    addresses = _addresses(parsed, places, problems)
    valid: dict[str, ApiEntry] = {}
    for name, entry in parsed.items():
        before = len(problems)
        _check_source(name, entry, (connections, dictionary), places, problems)
        _check_relations(name, entry, addresses, places, problems)
        _check_times(name, entry, addresses, places, problems)
        if len(problems) == before:
            valid[name] = entry
    return valid


def gateway_of(section: Mapping[str, Any], places: Places, problems: list[TongquError]) -> GatewayEntry | None:
    """The section `gateway`; None where there is none."""
    from tongqu.gateway.settings import GatewayEntry

    return parse(GatewayEntry, dict(section), ("gateway",), places, problems)


def check_audit(section: Mapping[str, Any], places: Places, problems: list[TongquError]) -> None:
    """The section `audit`."""
    if section:
        from tongqu.gateway.audit.settings import AuditEntry

        parse(AuditEntry, dict(section), ("audit",), places, problems)


def address(name: str, entry: ApiEntry) -> Address:
    """Version and name in the address of an entry; the version of a draft is one of drafts."""
    return (entry.version if entry.draft is None else f"{entry.version}{DRAFT}"), entry.name or name


def unserved(entries: Mapping[str, Any], connections: Mapping[str, Any], places: Places) -> list[dict[str, str]]:
    """Notes on APIs whose connection cannot answer callers."""
    from tongqu.app.project.connections import connector_of

    notes: list[dict[str, str]] = []
    for name, entry in entries.items():
        try:
            connector = connector_of(connections[entry.source.connection])
        except ConfigError:
            continue  # told of the connection itself
        if connector.server is None:
            told = InvalidPlanError(
                f"{connector.name} cannot be published directly",
                path=places.path(("apis", name, "source", "connection")),
                hint=f"move its rows by a pipeline into one that can: {', '.join(servers())}",
                params={"name": connector.name},
            )
            notes.append({**told.problem(), "level": "warning"})
    return notes


def servers() -> list[str]:
    """Connectors that answer callers."""
    return [name for name in registry.names() if registry.connector(name).server is not None]


def _addresses(entries: Mapping[str, ApiEntry], places: Places, problems: list[TongquError]) -> dict[Address, str]:
    """Every address with the entry that has it; two entries cannot have one."""
    found: dict[Address, str] = {}
    for name, entry in entries.items():
        where = address(name, entry)
        if where in found:
            other = places.of(("apis", found[where]))
            problems.append(
                InvalidSettingsError(
                    f"/api/{where[0]}/{where[1]} is published twice: by {found[where]!r} ({other}) and by {name!r}",
                    path=places.path(("apis", name)),
                    hint="give one of them another `name` or `version`",
                )
            )
        elif entry.name is None and not _fits(name):
            problems.append(
                InvalidSettingsError(
                    f"{name!r} does not fit into an address",
                    path=places.path(("apis", name)),
                    hint="letters, digits, `_` and `-`, at most 64, a letter first; or give it a `name` that does",
                )
            )
        else:
            found[where] = name
    return found


def _fits(name: str) -> bool:
    plain = name.replace("_", "").replace("-", "")
    return name[:1].isalpha() and name.isascii() and plain.isalnum() and len(name) <= 64


def _check_source(
    name: str,
    entry: ApiEntry,
    known: tuple[Mapping[str, Any], Mapping[str, DatasetEntry]],
    places: Places,
    problems: list[TongquError],
) -> None:
    key: Key = ("apis", name, "source")
    source = entry.source
    connections, dictionary = known
    if source.connection not in connections:
        problems.append(_unknown("connection", source.connection, list(connections), places.path((*key, "connection"))))
    if source.as_ is not None and source.as_ not in dictionary:
        problems.append(_unknown("dataset in the dictionary", source.as_, list(dictionary), places.path((*key, "as"))))
    if source.query is not None and any((entry.write.insert, entry.write.update, entry.write.delete)):
        problems.append(
            InvalidPlanError(
                "the rows of a query cannot be changed",
                path=places.path(("apis", name, "write")),
                hint="publish the table itself under another name, and write to that",
            )
        )
    published = set(entry.fields or ())
    for field in entry.access.fields if entry.fields is not None else ():
        if field not in published:
            where = places.path(("apis", name, "access", "fields", field))
            problems.append(_unknown("published field", field, sorted(published), where))


def _check_relations(
    name: str, entry: ApiEntry, addresses: Mapping[Address, str], places: Places, problems: list[TongquError]
) -> None:
    for relation, told in entry.relations.items():
        key: Key = ("apis", name, "relations", relation)
        if (entry.version, told.api) not in addresses and (address(name, entry)[0], told.api) not in addresses:
            same = [other for version, other in addresses if version == entry.version]
            problems.append(_unknown(f"API of version {entry.version}", told.api, same, places.path((*key, "api"))))
        if not told.on:
            problems.append(
                InvalidSettingsError(
                    "a relation needs the fields that belong together",
                    path=places.path((*key, "on")),
                    hint="field here to field there: {line_id: line_id}",
                )
            )


def _check_times(
    name: str, entry: ApiEntry, addresses: Mapping[Address, str], places: Places, problems: list[TongquError]
) -> None:
    days: dict[str, date] = {}
    for word in ("deprecated", "sunset"):
        value = getattr(entry, word)
        try:
            if value is not None:
                days[word] = date.fromisoformat(value)
        except ValueError:
            problems.append(
                InvalidSettingsError(
                    f"{word}: {value!r} is no date", path=places.path(("apis", name, word)), hint='"2027-06-30"'
                )
            )
    if len(days) == 2 and days["sunset"] < days["deprecated"]:
        problems.append(
            InvalidSettingsError(
                "`sunset` lies before `deprecated`",
                path=places.path(("apis", name, "sunset")),
                hint="a version is deprecated first, and withdrawn later",
            )
        )
    if entry.successor is not None and (entry.successor, entry.name or name) not in addresses:
        others = [version for version, other in addresses if other == (entry.name or name)]
        problems.append(
            _unknown("version of this API", entry.successor, others, places.path(("apis", name, "successor")))
        )


def _unknown(kind: str, name: str, valid: list[str], path: str) -> UnknownNameError:
    return UnknownNameError(f"there is no {kind} {name!r}", path=path, hint=nearest(name, valid), params={"name": name})
