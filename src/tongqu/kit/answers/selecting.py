"""Where the records stand in an answer: a path of keys, JSONPath (RFC 9535) or JMESPath."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.core.errors import InvalidSettingsError, MissingDriverError

_PLAIN = re.compile(r"(?:\$\.?)?([\w@-]+(?:\.[\w@-]+)*)?(?:\[\*\]|\[\])?")
"""Keys with points between them, `[*]` or `[]` at the end: what needs no library and no parsing of records."""


@dataclass(frozen=True)
class Selection:
    """What is selected. `keys` leads to one array or object and is cut out of the text as it stands; where it is None
    the whole body is parsed and `find` gives the records."""

    text: str
    keys: tuple[str, ...] | None
    find: Callable[[Any], Sequence[Any]] | None = None


def selection(text: str, path: str = "records") -> Selection:
    """The selection that a setting means: `data.items`, `/data/items` (keys that hold points), `$.data[*].lines[*]`
    (JSONPath, begins with `$`), all else JMESPath. Raises InvalidSettingsError for one that does not parse."""
    if text.startswith("/"):
        return Selection(text, tuple(key.replace("~1", "/").replace("~0", "~") for key in text[1:].split("/")))
    plain = _PLAIN.fullmatch(text)
    if plain:
        return Selection(text, tuple((plain[1] or "").split(".")) if plain[1] else ())
    return Selection(text, None, _by_path(text, path) if text.startswith("$") else _by_jmespath(text, path))


def _by_path(text: str, path: str) -> Callable[[Any], Sequence[Any]]:
    try:
        import jsonpath
    except ModuleNotFoundError as error:
        raise _missing("python-jsonpath") from error
    try:
        compiled = jsonpath.compile(text)
    except jsonpath.JSONPathError as error:
        raise InvalidSettingsError(f"{text!r} is no JSONPath: {error}", path=path) from error
    return compiled.findall


def _by_jmespath(text: str, path: str) -> Callable[[Any], Sequence[Any]]:
    try:
        import jmespath
    except ModuleNotFoundError as error:
        raise _missing("jmespath") from error
    try:
        compiled = jmespath.compile(text)
    except jmespath.exceptions.ParseError as error:
        raise InvalidSettingsError(
            f"{text!r} is neither keys with points between them nor JMESPath", path=path,
            hint="a JSONPath begins with $, as in $.data[*].lines[*]",
        ) from error  # fmt: skip

    def find(document: Any) -> Sequence[Any]:
        found = compiled.search(document)
        return found if isinstance(found, list) else [] if found is None else [found]

    return find


def _missing(package: str) -> MissingDriverError:
    return MissingDriverError(
        f"selecting by an expression needs {package}", hint="pip install 'tongqu[rest]'; a path of keys needs nothing"
    )


class Exact(float):
    """A number with the text it was written as."""

    text: str

    @classmethod
    def of(cls, text: str) -> Exact:
        """The number of a text."""
        made = cls(text)
        made.text = text
        return made


def parsed(body: bytes) -> Any:
    """The document, its decimals with the text they were written as; raises ValueError."""
    return json.loads(body, parse_float=Exact.of)


def written(value: Any) -> str:
    """JSON of a parsed document on one line, numbers as they were."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(str(name))}:{written(held)}" for name, held in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return value.text if isinstance(value, Exact) else json.dumps(value, ensure_ascii=False)


_quoted = json.JSONEncoder(ensure_ascii=False).encode


def looked_up(document: Any, path: str) -> Any:
    """The value at keys with points between them (or a JSON pointer) in an answer's envelope; None if there is none."""
    keys = path[1:].split("/") if path.startswith("/") else path.removeprefix("$.").split(".")
    whole = path.removeprefix("$.")
    if isinstance(document, dict) and whole in document:  # names such as `@odata.nextLink` hold points themselves
        return document[whole]
    for key in keys:
        if isinstance(document, list) and key.lstrip("-").isdigit() and abs(int(key)) < len(document):
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document.get(key)
        else:
            return None
    return document
