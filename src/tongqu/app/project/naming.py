"""Names of datasets, fields, pipelines and connections, held to the project's own rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tongqu.app.project.model import DatasetEntry, NamingEntry
from tongqu.app.project.places import Key, Places
from tongqu.app.project.problems import parse
from tongqu.core.errors import ConfigError, TongquError

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")


class NamingError(ConfigError):
    """A name breaks the project's naming rules."""

    code = "config.naming"


def check_naming(
    sections: Mapping[str, Mapping[str, Any]],
    dictionary: Mapping[str, DatasetEntry],
    places: Places,
    problems: list[TongquError],
    notes: list[Mapping[str, str]],
) -> NamingEntry:
    """The section `naming`; names that break it are added to `problems`, or to `notes` as warnings."""
    rules = parse(NamingEntry, dict(sections["naming"]), ("naming",), places, problems) or NamingEntry()
    for key, kind, name in _names(sections, dictionary):
        for message, hint in broken(rules, kind, name):
            error = NamingError(message, path=places.path(key), hint=hint, params={"name": name})
            if rules.severity == "error":
                problems.append(error)
            else:
                notes.append({**error.problem(), "level": "warning"})
    return rules


def broken(rules: NamingEntry, kind: str, name: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a name (message, hint); `kind` is `datasets`, `fields`, `pipelines` or `connections`."""
    singular = kind.removesuffix("s")
    pattern = getattr(rules, kind)
    if pattern is not None and not re.fullmatch(pattern, name):
        yield f"the {singular} name {name!r} does not match {pattern}", "rename it, or change naming in tongqu.yaml"
    words = [word.lower() for word in _WORD.findall(name)]
    for word in dict.fromkeys(rules.forbidden):
        if word.lower() in words or word.lower() == name.lower():
            yield f"the {singular} name {name!r} holds the forbidden word {word!r}", "choose another name"
    for long, short in rules.abbreviations.items():
        if long.lower() in words:
            yield f"the {singular} name {name!r} spells out {long!r}", f"write {short!r}"


def _names(
    sections: Mapping[str, Mapping[str, Any]], dictionary: Mapping[str, DatasetEntry]
) -> Iterator[tuple[Key, str, str]]:
    for kind in ("connections", "datasets", "pipelines"):
        for name in sections[kind]:
            yield (kind, name), kind, str(name)
    for dataset, entry in dictionary.items():
        for name in entry.fields:
            yield ("datasets", dataset, "fields", name), "fields", name
