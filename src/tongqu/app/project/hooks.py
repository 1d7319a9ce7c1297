"""Checks the `hooks` section, and lets pipelines name a hook as their source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app.project.connections import connector_of
from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core.errors import ConfigError, InvalidSettingsError, TongquError, UnknownNameError

if TYPE_CHECKING:
    from tongqu.gateway.hooks.settings import HookEntry

_QUEUE = "queue"


def check_hooks(
    section: Mapping[str, Any], connections: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> dict[str, HookEntry]:
    """The valid entries by name; what is wrong with the others is added to `problems`."""
    if not section:
        return {}
    from tongqu.gateway.hooks.settings import HookEntry

    valid: dict[str, HookEntry] = {}
    for name, values in section.items():
        key: Key = ("hooks", name)
        if not str(name).isascii() or not str(name).replace("-", "").replace("_", "").isalnum():
            problems.append(
                InvalidSettingsError(
                    f"the name {name!r} does not fit into an address", path=places.path(key),
                    hint="letters, digits, - and _",
                )
            )  # fmt: skip
            continue
        entry = parse(HookEntry, values, key, places, problems)
        if entry is None:
            continue
        connection, where = entry.to.connection, places.path((*key, "to", "connection"))
        if connection not in connections:
            problems.append(
                UnknownNameError(
                    f"there is no connection {connection!r}", path=where, hint=nearest(connection, list(connections)),
                    params={"name": connection},
                )
            )  # fmt: skip
        elif not _is_queue(connections[connection]):
            problems.append(
                InvalidSettingsError(
                    f"events are kept in a queue, and {connection!r} is none", path=where,
                    hint="add a connection {type: queue, path: events.queue}; a pipeline takes them on from there",
                )
            )  # fmt: skip
        else:
            valid[name] = entry
    return valid


def with_hooks(
    pipelines: Mapping[str, Any],
    hooks: Mapping[str, HookEntry],
    sections: Mapping[str, Mapping[str, Any]],
    places: Places,
    problems: list[TongquError],
) -> dict[str, Any]:
    """The pipelines with `source: {hook: NAME}` said in full: the topic that the hook's events are in, followed.
    `sections` are `hooks` and `connections` as they were written: what is wrong with a hook is told of the hook alone,
    so its pipelines are given some connection that is there."""
    named = sections["hooks"]
    some = next(iter(sections["connections"]), "")

    def full(source: Any, key: Key) -> Any:
        if not isinstance(source, Mapping) or "hook" not in source:
            return source
        name, rest = source["hook"], {word: value for word, value in source.items() if word != "hook"}
        if set(rest) & {"connection", "dataset", "datasets"}:
            problems.append(
                InvalidSettingsError("give `hook`, or `connection` and `dataset`", path=places.path((*key, "hook")))
            )
        known = isinstance(name, str) and name in named
        if not known:
            problems.append(
                UnknownNameError(f"there is no hook {name!r}", path=places.path((*key, "hook")),
                                 hint=nearest(str(name), list(named)), params={"name": str(name)})
            )  # fmt: skip
        entry = hooks.get(name) if known else None
        if entry is None:
            return {"connection": some, "dataset": str(name), "mode": "stream", **rest}
        return {"connection": entry.to.connection, "dataset": entry.to.topic or name, "mode": "stream", **rest}

    found: dict[str, Any] = {}
    for name, values in pipelines.items():
        found[name] = whole = dict(values) if isinstance(values, Mapping) else values
        if not isinstance(values, Mapping):
            continue
        if "source" in values:
            whole["source"] = full(values["source"], ("pipelines", name, "source"))
        if isinstance(values.get("sources"), Mapping):
            whole["sources"] = {
                one: full(source, ("pipelines", name, "sources", one)) for one, source in values["sources"].items()
            }
    return found


def _is_queue(connection: Any) -> bool:
    try:
        return isinstance(connection, Mapping) and connector_of(connection).name == _QUEUE
    except ConfigError:
        return True  # what is wrong with the connection is told elsewhere
