"""Names in a project that lead to other parts of it and that no section of its own looks after: those that lead
nowhere are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tongqu.app.project.connections import connector_of
from tongqu.app.project.places import Key, Places, nearest
from tongqu.core.errors import ConfigError, ExpressionError, InvalidSettingsError, TongquError, UnknownNameError

if TYPE_CHECKING:
    from tongqu.app.project.engine import EngineEntry
    from tongqu.app.project.model import DatasetEntry
    from tongqu.app.project.twoway import TwoWayEntry
    from tongqu.gateway.auth.settings import IdentitySettings
    from tongqu.gateway.settings import GatewayEntry

_MAIL = "smtp"


def check_pointers(
    names: Mapping[str, Mapping[str, Any]],
    places: Places,
    problems: list[TongquError],
    *,
    engine: EngineEntry,
    gateway: GatewayEntry | None,
    identity: IdentitySettings | None,
) -> None:
    """Connections that `engine` and `gateway` name, and purposes of foreign issuers. `names` are the sections as they
    were written."""
    connections = names["connections"]
    if engine.queue is not None and engine.queue.connection not in connections:
        problems.append(
            _unknown("connection", engine.queue.connection, connections, ("engine", "queue", "connection"), places)
        )
    mail, where = (gateway.news.mail if gateway else ""), ("gateway", "news", "mail")
    if mail and mail not in connections:
        problems.append(_unknown("connection", mail, connections, where, places))
    elif mail and _system(connections[mail]) not in ("", _MAIL):
        others = [name for name, values in connections.items() if _system(values) == _MAIL]
        hint = f"valid: {', '.join(others)}" if others else "type: smtp"
        problems.append(InvalidSettingsError(f"{mail!r} sends no mail", path=places.path(where), hint=hint))
    declared = names["purposes"]
    for name, issuer in identity.issuers.items() if identity and declared else ():
        for purpose in issuer.purposes:
            if purpose not in declared:
                key: Key = ("identity", "issuers", name, "purposes")
                problems.append(_unknown("purpose", purpose, declared, key, places))


def check_fields(
    dictionary: Mapping[str, DatasetEntry],
    sync: Mapping[str, TwoWayEntry],
    places: Places,
    problems: list[TongquError],
    notes: list[Mapping[str, str]],
) -> None:
    """Fields that entries of the dictionary and two-way syncs name. A dataset that is not `closed` may have fields that
    are not listed: there only a name that is nearly a listed one is told, as a warning."""
    for name, entry in dictionary.items():
        if not entry.fields:
            continue
        for key, field in _named(entry):
            if field in entry.fields or not (entry.closed or get_close_matches(field, entry.fields, n=1, cutoff=0.8)):
                continue
            error = _unknown("field", field, entry.fields, ("datasets", name, *key), places)
            if entry.closed:
                problems.append(error)
            else:
                notes.append({**error.problem(), "level": "warning"})
        if entry.closed:
            _check_rules(name, entry, places, problems)
    for name, told in sync.items():
        for field in told.master if told.fields and isinstance(told.master, Mapping) else ():
            if field != "*" and field not in told.fields:
                problems.append(_unknown("field", field, told.fields, ("sync", name, "master", field), places))


def _named(entry: DatasetEntry) -> Iterator[tuple[Key, str]]:
    """Fields that an entry names outside `fields`, each with its place."""
    if not entry.closed:  # of closed ones the key is told elsewhere
        yield from ((("key", at), column) for at, column in enumerate(entry.key))
    if entry.freshness is not None:
        yield ("freshness", "field"), entry.freshness.field
    if entry.retention is not None:
        yield ("retention", "since"), entry.retention.since


def _check_rules(name: str, entry: DatasetEntry, places: Places, problems: list[TongquError]) -> None:
    from tongqu.meaning.expressions import outlined

    for at, rule in enumerate(entry.rules):
        try:
            outlined(rule.expression, list(entry.fields))
        except ExpressionError as error:
            error.path = places.path(("datasets", name, "rules", at, "expression"))
            problems.append(error)


def _system(values: Any) -> str:
    """The connector's name; empty where that cannot be told."""
    try:
        return connector_of(values).name if isinstance(values, Mapping) else ""
    except ConfigError:
        return ""


def _unknown(
    kind: str, name: str, valid: Mapping[str, Any] | Sequence[str], key: Key, places: Places
) -> UnknownNameError:
    return UnknownNameError(
        f"there is no {kind} {name!r}", path=places.path(key), hint=nearest(name, list(valid)), params={"name": name}
    )
