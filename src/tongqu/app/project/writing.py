"""Writes values back into a project's YAML files, changing only what differs and keeping comments and order."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from tongqu.app.project.places import Key, Places
from tongqu.kit import lasting

HIDDEN = "***"
"""Stands for a secret in a stored version: what the file has there stays."""


def rewritten(file_of: Callable[[Key], Path], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[Path, str]:
    """The new text of every file that must change so that the files say `after` instead of `before`.

    `file_of` tells where a section, or an entry of one, stands or belongs.
    """
    loaded: dict[Path, CommentedMap] = {}
    yaml = _yaml()

    def document(file: Path) -> CommentedMap:
        if file not in loaded:
            text = file.read_text(encoding="utf-8-sig") if file.exists() else ""
            loaded[file] = yaml.load(text) or CommentedMap()
        return loaded[file]

    changed: set[Path] = set()
    for section in dict.fromkeys([*before, *after]):
        old, new = before.get(section), after.get(section)
        if old == new:
            continue
        if isinstance(old, Mapping | None) and isinstance(new, Mapping | None):
            for name in dict.fromkeys([*(old or {}), *(new or {})]):
                mine, theirs = (old or {}).get(name), (new or {}).get(name)
                if mine != theirs:
                    file = file_of((section, name))
                    _place(document(file), section, name, theirs)
                    changed.add(file)
        else:
            file = file_of((section,))
            _set(document(file), section, new)
            changed.add(file)
    return {file: _text(yaml, loaded[file]) for file in sorted(changed)}


def write(texts: Mapping[Path, str]) -> None:
    """Put the texts in place, each file whole or not at all."""
    for file, text in texts.items():
        lasting.put(file, text.encode(), file.stat().st_mode & 0o777 if file.exists() else 0o644)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.allow_unicode = True
    return yaml


def _text(yaml: YAML, document: CommentedMap) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def where(places: Places, main: Path) -> Callable[[Key], Path]:
    """An entry is in the file that has it; a new one goes where its section is, or else to the main file."""

    def found(key: Key) -> Path:
        mark = places.marks.get(key) or places.marks.get(key[:1])
        return mark.file if mark else main

    return found


def _place(document: CommentedMap, section: str, name: str, value: Any) -> None:
    entries = document.get(section)
    if not isinstance(entries, CommentedMap):
        if value is None:
            return
        entries = document[section] = CommentedMap()
    _set(entries, name, value)
    if not entries:
        del document[section]


def _set(holder: Any, name: str, value: Any) -> None:
    """Make the entry equal to the value with as few edits as possible."""
    if value is None:
        holder.pop(name, None)
    elif isinstance(value, Mapping) and isinstance(holder.get(name), CommentedMap):
        inner = holder[name]
        for key in [key for key in inner if str(key) not in value]:
            del inner[key]
        known = {str(key): key for key in inner}
        for key, item in value.items():
            _set(inner, known.get(str(key), key), item)
    elif value != HIDDEN and (not isinstance(value, str) or HIDDEN not in value) and holder.get(name) != value:
        holder[name] = value
