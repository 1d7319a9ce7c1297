"""Reads a project folder: finds its files, merges their sections, lays the environment's overlay on top, checks all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.project.apis import check_apis, check_audit, gateway_of, unserved
from tongqu.app.project.calendars import check_calendars, check_run, check_schedules
from tongqu.app.project.connections import check_connections
from tongqu.app.project.dictionary import check_dictionary
from tongqu.app.project.engine import EngineEntry, check_engine
from tongqu.app.project.hooks import check_hooks, with_hooks
from tongqu.app.project.leaving import left_behind
from tongqu.app.project.model import (
    NOT_RUN,
    SECTIONS,
    DatasetEntry,
    EnvironmentEntry,
    NamingEntry,
    PipelineEntry,
    PurposeEntry,
)
from tongqu.app.project.naming import check_naming
from tongqu.app.project.pipelines import check_pipelines
from tongqu.app.project.places import Key, Places, ProblemsError, dotted_path, nearest
from tongqu.app.project.pointers import check_fields, check_pointers
from tongqu.app.project.problems import parse
from tongqu.app.project.purposes import check_purposes
from tongqu.app.project.reconciling import ReconcileEntry, check_reconcile
from tongqu.app.project.rules import ConnectionRules, split_rules
from tongqu.app.project.schedules import CalendarEntry, RunEntry
from tongqu.app.project.transmitting import with_queues
from tongqu.app.project.twoway import TwoWayEntry, check_two_way
from tongqu.app.project.webhooks import with_webhooks
from tongqu.app.project.yaml import read_yaml
from tongqu.core.errors import ConfigError, InvalidSettingsError, TongquError, UnknownNameError
from tongqu.gateway.auth.settings import IdentitySettings

if TYPE_CHECKING:
    from tongqu.gateway.entry import ApiEntry
    from tongqu.gateway.hooks.settings import HookEntry
    from tongqu.gateway.settings import GatewayEntry

MAIN = "tongqu.yaml"


@dataclass(frozen=True)
class Project:
    """A project whose files are valid. `connections` still hold their references."""

    folder: Path
    name: str
    files: tuple[Path, ...]
    connections: Mapping[str, Mapping[str, Any]]
    dictionary: Mapping[str, DatasetEntry]
    entries: Mapping[str, Mapping[str, Any]]
    """The data dictionary as it stands in the files, for steps that refer to it."""
    pipelines: Mapping[str, PipelineEntry]
    places: Places = field(default_factory=Places)
    notes: tuple[Mapping[str, str], ...] = ()
    """What a person should know and that is no error, as problems with `level`."""
    naming: NamingEntry = field(default_factory=NamingEntry)
    """How things are called."""
    environments: Mapping[str, EnvironmentEntry] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    """The sections of the files as plain values, without the environment's overlay."""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    """What the environment's overlay says."""
    reconcile: Mapping[str, ReconcileEntry] = field(default_factory=dict)
    """Tables that must hold the same rows."""
    sync: Mapping[str, TwoWayEntry] = field(default_factory=dict)
    """Records that several systems hold and that are kept in agreement."""
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    """How callers of the APIs are known."""
    apis: Mapping[str, ApiEntry] = field(default_factory=dict)
    """What is published."""
    gateway: GatewayEntry | None = None
    """Protection that holds for all APIs; None: the defaults."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """How the audit trail is kept; checked, with its references as they stand in the files."""
    purposes: Mapping[str, PurposeEntry] = field(default_factory=dict)
    """What personal data are used for."""
    calendars: Mapping[str, CalendarEntry] = field(default_factory=dict)
    """Days on which things run."""
    running: RunEntry = field(default_factory=RunEntry)
    """How things are run."""
    rules: Mapping[str, ConnectionRules] = field(default_factory=dict)
    """What bounds the use of connections, and who stands in for them, by name."""
    engine: EngineEntry = field(default_factory=EngineEntry)
    """On what big loads run."""
    carried: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The pipelines behind those that follow a log into several sinks: one for each sink."""
    hooks: Mapping[str, HookEntry] = field(default_factory=dict)
    """Addresses that others call with their events."""

    def pipeline(self, name: str) -> PipelineEntry:
        """The pipeline of that name; raises UnknownNameError with the nearest."""
        if name not in self.pipelines:
            raise UnknownNameError(
                f"there is no pipeline {name!r}", path=MAIN, hint=nearest(name, list(self.pipelines)),
                params={"name": name},
            )  # fmt: skip
        return self.pipelines[name]

    def connection(self, name: str) -> Mapping[str, Any]:
        """The settings of the connection; raises UnknownNameError with the nearest."""
        if name not in self.connections:
            raise UnknownNameError(
                f"there is no connection {name!r}", path=MAIN, hint=nearest(name, list(self.connections)),
                params={"name": name},
            )  # fmt: skip
        return self.connections[name]

    def reconciliation(self, name: str) -> ReconcileEntry:
        """The entry of the section `reconcile` of that name; raises UnknownNameError with the nearest."""
        if name not in self.reconcile:
            raise UnknownNameError(
                f"there is no reconcile entry {name!r}", path=MAIN, hint=nearest(name, list(self.reconcile)),
                params={"name": name},
            )  # fmt: skip
        return self.reconcile[name]

    def two_way(self, name: str) -> TwoWayEntry:
        """The entry of the section `sync` of that name; raises UnknownNameError with the nearest."""
        if name not in self.sync:
            raise UnknownNameError(
                f"there is no entry {name!r} under sync", path=MAIN, hint=nearest(name, list(self.sync)),
                params={"name": name},
            )  # fmt: skip
        return self.sync[name]


def load(folder: Path, env: str = "") -> Project:
    """The project in a folder; raises ProblemsError holding everything that is wrong with its files."""
    files = find_files(folder)
    problems: list[TongquError] = []
    tree, places = merge(files, problems)
    overlay = folder / f"tongqu.{env}.yaml"
    declared = tree.get("environments")
    if env and not overlay.is_file() and not (isinstance(declared, dict) and env in declared):
        known = [path.name.removeprefix("tongqu.").removesuffix(".yaml") for path in _overlays(folder)]
        raise UnknownNameError(
            f"there is no environment {env!r}: neither tongqu.{env}.yaml nor an entry of `environments`",
            path="--env",
            hint=nearest(env, [*known, *(declared if isinstance(declared, dict) else ())]),
            params={"name": env},
        )
    over = _overlay(overlay, places, problems) if env and overlay.is_file() else {}
    if problems:
        raise ProblemsError(problems)
    return checked(folder, files, tree, over, places)


def find_files(folder: Path) -> tuple[Path, ...]:
    """`tongqu.yaml` and the further `*.yaml` beside it, without overlays; raises ConfigError if there is no project."""
    if not (folder / MAIN).is_file():
        raise ConfigError(
            f"there is no {MAIN} in {folder.absolute()}",
            hint="name the folder with --project DIR, or use `tongqu sync SRC DST`, which needs no project",
            params={"folder": str(folder)},
        )
    overlays = _overlays(folder)
    beside = sorted(path for path in folder.glob("*.yaml") if path.name != MAIN and not path.name.startswith("."))
    return (folder / MAIN, *(path for path in beside if path not in overlays))


def _overlays(folder: Path) -> list[Path]:
    return sorted(folder.glob("tongqu.*.yaml"))


def merge(files: tuple[Path, ...], problems: list[TongquError]) -> tuple[dict[str, Any], Places]:
    """All files as one tree; a name that two files define is a problem that names both places."""
    tree: dict[str, Any] = {}
    places = Places(folder=files[0].parent.absolute())
    for file in files:
        try:
            values, marks = read_yaml(file)
        except ConfigError as error:
            problems.append(error)
            continue
        for section, content in values.items():
            if section not in SECTIONS:
                problems.append(
                    InvalidSettingsError(
                        f"unknown section {section!r}",
                        path=f"{marks[(section,)]}:{section}",
                        hint=nearest(section, SECTIONS),
                        params={"key": section, "valid": ", ".join(SECTIONS)},
                    )
                )
            elif section not in tree:
                tree[section] = dict(content) if isinstance(content, dict) else content
            elif isinstance(content, dict) and isinstance(tree[section], dict):
                for name, item in content.items():
                    if name in tree[section]:
                        problems.append(_duplicate(places, marks, (section, name)))
                    else:
                        tree[section][name] = item
            else:
                problems.append(_duplicate(places, marks, (section,)))
        for key, mark in marks.items():
            places.marks.setdefault(key, mark)
    return tree, places


def _duplicate(places: Places, marks: Mapping[Key, Any], key: Key) -> InvalidSettingsError:
    dotted = dotted_path(key)
    return InvalidSettingsError(
        f"{dotted} is defined twice: in {places.of(key)} and in {marks[key]}",
        path=f"{marks[key]}:{dotted}",
        hint="keep one of them; to change values for one environment use tongqu.ENV.yaml and --env",
    )


def _overlay(file: Path, places: Places, problems: list[TongquError]) -> dict[str, Any]:
    try:
        values, marks = read_yaml(file)
    except ConfigError as error:
        problems.append(error)
        return {}
    places.marks.update({key: mark for key, mark in marks.items() if key})
    return values


def laid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with an overlay on top: mappings merge, any other value replaces; neither argument is changed."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = laid(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def checked(
    folder: Path, files: tuple[Path, ...], shared: Mapping[str, Any], over: Mapping[str, Any], places: Places
) -> Project:
    """The project that shared sections and an overlay make together; raises ProblemsError."""
    problems: list[TongquError] = []
    tree = laid(shared, over)
    sections = _sections(tree, places, problems)
    name = _name(tree, folder, places, problems)
    sections["connections"], rules = split_rules(sections["connections"], places, problems)
    notes = [*_not_run(sections, places), *check_connections(sections["connections"], places, problems)]
    dictionary = check_dictionary(sections, places, problems)
    naming = check_naming(sections, dictionary, places, problems, notes)
    environments = _environments(sections["environments"], places, problems)
    hooks = _hooked(sections, places, problems)
    engine = check_engine(sections["engine"], places, problems)
    carried = with_queues(sections, engine.queue.connection if engine.queue else None, places, problems)
    pipelines = check_pipelines(sections["pipelines"], sections["connections"], sections["datasets"], places, problems)
    reconcile = check_reconcile(sections["reconcile"], sections["connections"], places, problems)
    sync = check_two_way(sections["sync"], sections["connections"], places, problems)
    timed: dict[str, Mapping[str, Any]] = {"pipelines": pipelines, "reconcile": reconcile, "sync": sync}
    calendars = _calendars(sections, timed, places, problems)
    running = check_run(sections["run"], sections["connections"], places, problems)
    identity = parse(IdentitySettings, sections["identity"], ("identity",), places, problems)
    apis = _published(sections, dictionary, places, problems)
    gateway = gateway_of(sections["gateway"], places, problems) if sections["gateway"] else None
    check_audit(sections["audit"], places, problems)
    purposes = check_purposes(sections["purposes"], apis, dictionary, places, problems)
    check_pointers(sections, places, problems, engine=engine, gateway=gateway, identity=identity)
    check_fields(dictionary, sync, places, problems, notes)
    if problems:
        raise ProblemsError(list({(found.path, found.message): found for found in problems}.values()))
    return Project(
        folder=folder,
        name=name,
        files=files,
        connections=sections["connections"],
        dictionary=dictionary,
        entries=sections["datasets"],
        pipelines=pipelines,
        reconcile=reconcile,
        sync=sync,
        identity=identity or IdentitySettings(),
        apis=apis,
        gateway=gateway,
        audit=sections["audit"],
        purposes=purposes,
        calendars=calendars,
        running=running,
        engine=engine,
        carried=carried,
        rules=rules,
        hooks=hooks,
        places=places,
        notes=(*notes, *unserved(apis, sections["connections"], places), *left_behind(pipelines, dictionary, places)),
        environments=environments,
        naming=naming,
        shared=shared,
        overlay=over,
    )


def _hooked(sections: dict[str, Any], places: Places, problems: list[TongquError]) -> dict[str, HookEntry]:
    hooks = check_hooks(sections["hooks"], sections["connections"], places, problems)
    sections["pipelines"] = with_hooks(sections["pipelines"], hooks, sections, places, problems)
    return hooks


def _published(
    sections: Mapping[str, Any], dictionary: dict[str, DatasetEntry], places: Places, problems: list[TongquError]
) -> dict[str, ApiEntry]:
    apis = check_apis(sections["apis"], sections["connections"], dictionary, places, problems)
    return with_webhooks(apis, sections["webhooks"], sections["apis"], places, problems)


def _name(tree: Mapping[str, Any], folder: Path, places: Places, problems: list[TongquError]) -> str:
    name = tree.get("project", folder.absolute().name)
    if not isinstance(name, str):
        problems.append(InvalidSettingsError("project is a name", path=places.path(("project",))))
    return str(name)


def _calendars(
    sections: Mapping[str, Mapping[str, Any]],
    timed: Mapping[str, Mapping[str, Any]],
    places: Places,
    problems: list[TongquError],
) -> dict[str, CalendarEntry]:
    calendars = check_calendars(sections["calendars"], places, problems)
    check_schedules(sections, timed, calendars, places, problems)
    return calendars


def _sections(tree: Mapping[str, Any], places: Places, problems: list[TongquError]) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for section in SECTIONS[1:]:
        content = tree.get(section)
        if content is not None and not isinstance(content, dict):
            path = places.path((section,))
            problems.append(InvalidSettingsError(f"{section} is a mapping of names", path=path, hint="NAME: {…}"))
        sections[section] = content if isinstance(content, dict) else {}
    return sections


def _environments(
    section: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> dict[str, EnvironmentEntry]:
    found: dict[str, EnvironmentEntry] = {}
    for name, values in section.items():
        entry = parse(EnvironmentEntry, values or {}, ("environments", name), places, problems)
        if entry:
            found[name] = entry
    for name, entry in found.items():
        if entry.after is not None and (entry.after not in found or entry.after == name):
            problems.append(
                UnknownNameError(
                    f"there is no other environment {entry.after!r}",
                    path=places.path(("environments", name, "after")),
                    hint=nearest(entry.after, [other for other in found if other != name]),
                )
            )
    return found


def _not_run(sections: Mapping[str, Mapping[str, Any]], places: Places) -> list[Mapping[str, str]]:
    return [
        {
            "path": places.path((section,)),
            "code": "project.not_run",
            "message": f"this version reads the section {section!r} and does not run it",
            "hint": "",
            "level": "info",
        }
        for section in NOT_RUN
        if sections[section]
    ]
