"""Reads a YAML file into plain values and remembers the line of every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tongqu.app.project.places import Key, Mark
from tongqu.core.errors import InvalidSettingsError

_MOST = 100_000
_DEEPEST = 50


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[Key, Mark]]:
    """The mapping in a YAML file and the mark of each key; an empty file is an empty mapping.

    Raises InvalidSettingsError with `file:line` for bad syntax, duplicate keys, bad encoding, or a file that holds no
    mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSettingsError(
            f"the file is not UTF-8 text (byte {error.start})", path=f"{path.name}:1", hint="save it as UTF-8"
        ) from error
    except OSError as error:
        raise InvalidSettingsError(f"the file cannot be read: {error.strerror}", path=path.name) from error
    try:
        loaded = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        raise _syntax(path, error) from error
    except RecursionError:
        raise _too_much(path) from None
    except YAMLError as error:
        raise InvalidSettingsError(f"the file is not YAML: {error}", path=f"{path.name}:1") from error
    if loaded is None:
        return {}, {}
    marks: dict[Key, Mark] = {(): Mark(path, 1)}
    try:
        plain = _plain(loaded, (), path, marks)
    except RecursionError:
        raise _too_much(path) from None
    if not isinstance(plain, dict):
        raise InvalidSettingsError(
            "a project file is a mapping of sections", path=f"{path.name}:1", hint="begin with `project: NAME`"
        )
    return plain, marks


def _too_much(path: Path) -> InvalidSettingsError:
    return InvalidSettingsError(
        f"the file nests too deep, or its aliases (*name) unfold to more than {_MOST:,} values",
        path=f"{path.name}:1",
        hint="write it flat; an alias inside an alias multiplies",
    )


def _plain(value: Any, key: Key, path: Path, marks: dict[Key, Mark]) -> Any:
    if len(marks) > _MOST or len(key) > _DEEPEST:
        raise _too_much(path)
    if isinstance(value, CommentedMap):
        result = {}
        for name, item in value.items():
            inner = (*key, str(name))
            line = value.lc.data[name][0] if name in (value.lc.data or {}) else value.lc.line
            marks[inner] = Mark(path, line + 1)
            result[str(name)] = _plain(item, inner, path, marks)
        return result
    if isinstance(value, CommentedSeq):
        listed = []
        for at, item in enumerate(value):
            line = value.lc.data[at][0] if at in (value.lc.data or {}) else value.lc.line
            marks[(*key, at)] = Mark(path, line + 1)
            listed.append(_plain(item, (*key, at), path, marks))
        return listed
    if isinstance(value, bool) or value is None:
        return value
    for simple in (int, float, str):
        if isinstance(value, simple):
            return simple(value)
    return value


def _syntax(path: Path, error: MarkedYAMLError) -> InvalidSettingsError:
    mark = error.problem_mark or error.context_mark
    where = f"{path.name}:{mark.line + 1}" if mark else f"{path.name}:1"
    problem = (error.problem or str(error)).split("\n")[0].strip()
    if "duplicate key" in problem:
        first = f" (first in line {error.context_mark.line + 1})" if error.context_mark else ""
        problem = f"{problem.split(' with value')[0]}{first}"
    hint = "quote texts that hold `: ` or begin with a special character"
    if "duplicate key" in problem:
        hint = "keep one of the two"
    elif "'\\t'" in problem:
        hint = "indent with spaces, not with tabs"
    return InvalidSettingsError(f"not valid YAML: {problem}", path=where, hint=hint)
