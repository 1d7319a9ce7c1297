"""Documents made from the code itself: the systems with their honest labels, and the JSON Schema of project files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app.messages import language
from tongqu.app.project.engine import EngineEntry
from tongqu.app.project.model import NOT_RUN, DatasetEntry, EnvironmentEntry, NamingEntry, PipelineEntry, PurposeEntry
from tongqu.app.project.reconciling import ReconcileEntry
from tongqu.app.project.rules import ConnectionRules
from tongqu.app.project.schedules import CalendarEntry, RunEntry
from tongqu.app.project.twoway import TwoWayEntry
from tongqu.core import operator, registry
from tongqu.core.connector import Can, Connector
from tongqu.core.settings import Settings
from tongqu.gateway.audit.settings import AuditEntry
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.hooks.settings import HookEntry
from tongqu.gateway.settings import GatewayEntry
from tongqu.gateway.webhooks.settings import SubscriptionEntry

if TYPE_CHECKING:
    from tongqu.kit.profiles.profile import Profile

REFERENCE = {"type": "string", "pattern": r"\$\{(env|secret|file|vault):[^}]+\}"}


def connectors() -> dict[str, Any]:
    """All connectors: name, label, what they can do, and their guarantees."""
    from tongqu.kit.profiles.profile import names, profile

    return {
        "connectors": [_connector(registry.connector(name)) for name in registry.names()],
        "profiles": [_profile(profile(name)) for name in names()],
    }


def profile_shown(name: str) -> dict[str, Any]:
    """A profile by its name or file: what a connection with it is asked for, its datasets with their fields, what it
    follows and what it leaves out. Raises InvalidSettingsError."""
    from tongqu.kit.profiles.profile import profile

    found = profile(name)
    return {
        **_profile(found),
        "address": _own(found.address) or str(found.connection.get("base_url", "")),
        "settings": [
            {
                "name": key,
                "title": _own(asked.title),
                "help": _own(asked.help),
                "kind": asked.kind,
                "secret": asked.secret,
                "needed": asked.default is None,
                "default": asked.default,
            }
            for key, asked in found.settings.items()
        ],
        "fields": {
            dataset: [
                {"name": key, "type": one.type, "title": _own(one.title), "class": one.class_ or "", "unit": one.unit}
                for key, one in told.fields.items()
            ]
            for dataset, told in found.datasets.items()
        },
        "follows": [one.model_dump() for one in found.follows],
        "missing": [_own(one) for one in found.missing],
    }


def _profile(found: Profile) -> dict[str, Any]:
    return {
        "name": found.name,
        "title": _own(found.title),
        "connector": found.connector,
        "label": found.label,
        "datasets": {name: _own(one.title) for name, one in found.datasets.items()},
    }


def _own(texts: Mapping[Any, str]) -> str:
    return texts.get(language()) or next(iter(texts.values()), "")


def _connector(found: Connector) -> dict[str, Any]:
    return {
        "name": found.name,
        "title": found.title.get(language(), found.name),
        "label": found.label,
        "reads": found.source is not None,
        "writes": found.sink is not None,
        "cdc": Can.CDC in found.can,
        "serves": Can.SERVES in found.can,
        "guarantees": dict(found.guarantee),
        "schemes": list(found.schemes),
        "systems": list(found.systems),
        "extra": found.extra,
        "can": [flag.name.lower() for flag in Can if flag in found.can and flag.name],
    }


def project_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a project file, made from the settings classes that read it."""
    definitions: dict[str, Any] = {}
    pipeline = _model(PipelineEntry, definitions)
    dataset = _model(DatasetEntry, definitions)
    definitions["pipeline"] = pipeline
    definitions["dataset"] = dataset
    definitions["step"] = _steps(definitions)
    pipeline["properties"]["steps"] = {
        "type": "array",
        "items": {"$ref": "#/$defs/step"},
        "description": pipeline["properties"]["steps"].get("description", ""),
    }
    kinds: list[dict[str, Any]] = []
    for name in registry.names():
        definitions[f"connection_{name}"] = _connection(registry.connector(name), definitions)
        kinds.append({"$ref": f"#/$defs/connection_{name}"})
    for name, schema in _with_profiles(definitions):
        definitions[name] = schema
        kinds.append({"$ref": f"#/$defs/{name}"})
    untyped = "The URL's scheme tells the system; in an overlay (tongqu.ENV.yaml) only what differs."
    kinds.append({"type": "object", "description": untyped, "not": {"required": ["type"]}})
    definitions["connection"] = {"oneOf": kinds}
    sections: dict[str, Any] = {
        "project": {"type": "string", "description": "Name of the project."},
        "naming": _model(NamingEntry, definitions),
        "connections": _named("connection", "Systems, by name."),
        "datasets": _named("dataset", "The data dictionary: what datasets and fields mean."),
        "pipelines": _named("pipeline", "How data moves, by name."),
        "identity": _model(IdentitySettings, definitions),
    }
    definitions["reconciliation"] = _model(ReconcileEntry, definitions)
    sections["reconcile"] = _named("reconciliation", "Tables that must hold the same rows, compared by `tongqu diff`.")
    definitions["two_way"] = _model(TwoWayEntry, definitions)
    sections["sync"] = _named("two_way", "Records that several systems hold, kept in agreement by `tongqu twoway`.")
    definitions["api"] = _model(ApiEntry, definitions)
    sections["apis"] = _named("api", "What is published, by name.")
    sections["gateway"] = _model(GatewayEntry, definitions)
    sections["audit"] = _model(AuditEntry, definitions)
    definitions["purpose"] = _model(PurposeEntry, definitions)
    sections["purposes"] = _named("purpose", "What personal data are used for, by name.")
    definitions["calendar"] = _model(CalendarEntry, definitions)
    sections["calendars"] = _named("calendar", "Days on which things run, by name.")
    sections["run"] = _model(RunEntry, definitions)
    sections["engine"] = _model(EngineEntry, definitions)
    definitions["environment"] = _model(EnvironmentEntry, definitions)
    sections["environments"] = _named("environment", "Environments and what they ask of a version, by name.")
    definitions["hook"] = _model(HookEntry, definitions)
    sections["hooks"] = _named("hook", "Webhooks that come in, by name.")
    definitions["subscription"] = _model(SubscriptionEntry, definitions)
    sections["webhooks"] = _named("subscription", "Webhooks that go out for several APIs, by name.")
    sections |= {name: {"type": "object", "description": "Not run by this version."} for name in NOT_RUN}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tongqu project",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _named(definition: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": {"$ref": f"#/$defs/{definition}"},
    }


def _model(model: type[Settings], definitions: dict[str, Any]) -> dict[str, Any]:
    return _adopted(model.model_json_schema(by_alias=True), definitions, model.__name__)


def _adopted(schema: dict[str, Any], definitions: dict[str, Any], owner: str) -> dict[str, Any]:
    """The schema without its definitions, which join the others: under names of the owner's, where another connector or
    step has different ones of the same names."""
    own = schema.pop("$defs", {})
    if any(definitions.get(name, one) != one for name, one in own.items()):
        names = {f"#/$defs/{name}": f"#/$defs/{owner}_{name}" for name in own}
        schema = _renamed(schema, names)
        own = {f"{owner}_{name}": _renamed(one, names) for name, one in own.items()}
    definitions |= own
    return schema


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def _connection(found: Connector, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _model(found.settings, definitions)
    properties = {name: _or_reference(value) for name, value in schema.get("properties", {}).items()}
    needed = schema.get("required", [])
    properties.setdefault("url", {"type": "string", "description": "All settings as one URL; single keys override it."})
    properties |= _model(ConnectionRules, definitions)["properties"]
    result = {
        "title": found.title.get("en", found.name),
        "type": "object",
        "properties": {"type": {"const": found.name, "description": "The system's type."}, **properties},
        "required": ["type"],
        "additionalProperties": False,
    }
    if needed and "url" not in needed:
        result["anyOf"] = [{"required": ["url"]}, {"required": needed}]
    elif needed:
        result["required"] = ["type", *needed]
    return result


def _with_profiles(definitions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The connections with a profile: all that their connector takes, and what the profile asks for. A profile in a
    file of one's own asks for what only that file knows."""
    from tongqu.kit.profiles.profile import names, profile

    plain = definitions["connection_rest"]
    own = {**plain["properties"], "profile": {"type": "string", "pattern": r"\.ya?ml$"}}
    yield (
        "connection_rest_file",
        {**plain, "properties": own, "required": ["type", "profile"], "additionalProperties": True},
    )
    for name in names():
        found = profile(name)
        asked = {
            key: {
                "title": _own(one.title),
                "description": _own(one.help),
                **({} if one.kind != "text" else {"type": "string"}),
            }
            for key, one in found.settings.items()
        }
        needed = [key for key, one in found.settings.items() if one.default is None]
        yield f"connection_{found.connector}_{name}", {
            **plain,
            "title": found.title.get("en", name),
            "properties": {
                **plain["properties"], **asked,
                "profile": {"const": name, "description": found.title.get("en", name)},
            },
            "required": ["type", "profile", *(["base_url"] if found.address else []), *needed],
        }  # fmt: skip
    plain["properties"] = {name: one for name, one in plain["properties"].items() if name != "profile"}


def _or_reference(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, or a text with a reference in its place where the value is no text."""
    outer = {key: schema[key] for key in ("title", "description", "default", "x-i18n") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in outer}
    if inner.get("type") == "string" and set(inner) == {"type"}:
        return dict(schema)
    return {**outer, "anyOf": [inner, REFERENCE]}


def _steps(definitions: dict[str, Any]) -> dict[str, Any]:
    choices = []
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    for verb in operator.verbs():
        schema = _adopted(operator.operator(verb).yaml_schema(), definitions, f"step_{verb}")
        definitions[f"step_{verb}"] = {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "Name of the step, for steps and sinks that read it."},
                "from": {**names, "description": "What the step reads (default: the step above)."},
                verb: schema,
            },
            "required": [verb],
            "additionalProperties": False,
        }
        choices.append({"$ref": f"#/$defs/step_{verb}"})
    definitions["step_mapping"] = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Name of the step, for steps and sinks that read it."},
            "from": {**names, "description": "What the step reads (default: the step above)."},
            "mapping": {"type": "string", "description": "A mapping sheet (.xlsx or .csv) in the project's folder."},
        },
        "required": ["mapping"],
        "additionalProperties": False,
    }
    choices.append({"$ref": "#/$defs/step_mapping"})
    return {"oneOf": choices} if choices else {"type": "object"}
