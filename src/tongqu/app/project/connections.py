"""Checks the connections of a project against the settings of their connectors, without resolving a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core import registry
from tongqu.core.connector import Connector
from tongqu.core.errors import ConfigError, InvalidSettingsError, TongquError
from tongqu.core.secret_fields import holds_secret, models_in
from tongqu.core.settings import Settings
from tongqu.store.literal import literal_passwords
from tongqu.store.references import SECRETIVE, has_reference
from tongqu.store.scrub import known


def check_connections(
    section: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> list[Mapping[str, str]]:
    """Add what is wrong to `problems`; the result are notes about passwords written into the file."""
    notes: list[Mapping[str, str]] = []
    for name, values in section.items():
        key = ("connections", name)
        if not isinstance(values, dict):
            problems.append(
                InvalidSettingsError(
                    "a connection is a mapping", path=places.path(key), hint="for example {type: sqlite, path: x.db}"
                )
            )
            continue
        connector = _connector(values, key, places, problems)
        if connector is None:
            continue
        notes += _literal_secrets([connector.settings], values, key, places)
        _check_settings(connector, values, key, places, problems)
    return notes


def connector_of(values: Mapping[str, Any]) -> Connector:
    """The connector that a connection's `type` names, or else its `url`; raises ConfigError."""
    if "type" in values:
        return registry.connector(str(values["type"]))
    if isinstance(values.get("url"), str) and not values["url"].startswith("${"):
        return registry.by_url(values["url"])
    raise InvalidSettingsError("missing key 'type'", hint=f"valid types: {', '.join(registry.names())}")


def settings_of(connector: Connector, values: Mapping[str, Any], path: str = "") -> Settings:
    """Settings from a connection's resolved values; a `url` gives the rest and single keys override it."""
    own = {name: value for name, value in values.items() if name != "type"}
    if "url" in own and "url" not in _names(connector.settings):
        parsed = connector.from_url(str(own.pop("url")))
        plain = {field.alias: name for name, field in type(parsed).model_fields.items() if field.alias}
        given = {name: getattr(parsed, name) for name in parsed.model_fields_set}
        own = {**given, **{plain.get(name, name): value for name, value in own.items()}}
        connector = _as(connector, type(parsed))
    return connector.settings.parse(own, path)


def _as(connector: Connector, settings: type[Settings]) -> Connector:
    from dataclasses import replace

    return connector if connector.settings is settings else replace(connector, settings=settings)


def _connector(values: Mapping[str, Any], key: Key, places: Places, problems: list[TongquError]) -> Connector | None:
    try:
        return connector_of(values)
    except ConfigError as error:
        error.path = places.path((*key, "type"))
        if "type" in values:
            error.hint = nearest(str(values["type"]), registry.names(), most=len(registry.names()))
        problems.append(error)
        return None


def _check_settings(
    connector: Connector, values: Mapping[str, Any], key: Key, places: Places, problems: list[TongquError]
) -> None:
    own = {name: value for name, value in values.items() if name != "type"}
    if str(own.get("profile", "")).endswith((".yaml", ".yml")):
        own["profile"] = str(places.folder / str(own["profile"]))
    names = _names(connector.settings)
    url = own.get("url")
    if url is not None and "url" not in names:
        own.pop("url")
        if not isinstance(url, str):
            problems.append(InvalidSettingsError("url is a text", path=places.path((*key, "url"))))
            return
        if has_reference(url):
            for name in sorted(set(own) - names):
                problems.append(
                    InvalidSettingsError(
                        f"unknown key {name!r}", path=places.path((*key, name)), hint=nearest(name, [*names, "url"])
                    )
                )
            return
        try:
            settings_of(connector, values)
        except TongquError as error:
            error.path = places.path((*key, "url")) if not error.path else places.path((*key, error.path))
            problems.append(error)
        return
    parse(connector.settings, own, key, places, problems, references=True)


def _names(settings: type[Settings]) -> set[str]:
    return {name for plain, field in settings.model_fields.items() for name in (plain, field.alias) if name}


def _literal_secrets(
    models: Sequence[type[BaseModel]], values: Mapping[str, Any], key: Key, places: Places
) -> list[Mapping[str, str]]:
    """Notes for secrets that stand in the file, at any depth; the secrets are known to the scrubber from here on."""
    notes: list[Mapping[str, str]] = []
    for name, value in values.items():
        fields = [
            field for model in models for plain, field in model.model_fields.items() if name in (plain, field.alias)
        ]
        inner = [model for field in fields for model in models_in(field.annotation)] or (() if fields else models)
        free = not fields and SECRETIVE.search(str(name)) is not None
        secret = free or any(holds_secret(field.annotation) for field in fields)
        for at, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            here = (*key, name) if at is None else (*key, name, at)
            if isinstance(one, Mapping):
                notes += _literal_secrets(list(inner), one, here, places)
            elif isinstance(one, str) and one and not has_reference(one) and (secret or literal_passwords(one)):
                known.add(one) if secret else known.add_url(one)
                notes.append(
                    {
                        "path": places.path(here),
                        "code": "project.literal_secret",
                        "message": "a password stands in the file",
                        "hint": "put it into an environment variable: ${env:NAME}, or a secret: ${secret:NAME}",
                        "level": "warning",
                    }
                )
    return notes
