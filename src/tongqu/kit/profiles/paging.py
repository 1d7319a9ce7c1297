"""Cuts a mock's rows into pages in the way that a list's paging settings describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.core.errors import InvalidSettingsError

_PARAMS = {"page": "page", "offset": "offset", "cursor": "cursor", "keyset": "after"}


def paged(
    paging: Mapping[str, Any], rows: Sequence[Any], asked: Mapping[str, Any], most: int, path: str
) -> tuple[list[Any], dict[str, Any]]:
    """The rows of the page that was asked for, at most `most`, and what the answer says beside them, by its place.
    `asked` are the parameters; of `next_url` the name `@next` is the page's own. Raises InvalidSettingsError for a
    kind of paging that a mock cannot do."""
    kind = paging.get("kind", "auto")
    size = min(most, _number(asked.get(paging.get("size_param", "")), most))
    if kind in ("none", "auto"):
        return list(rows), {}
    if kind not in (*_PARAMS, "next_url"):
        raise InvalidSettingsError(f"a mock has no paging of kind {kind}", path="paging")
    given = asked.get("@next" if kind == "next_url" else paging.get("param") or _PARAMS[kind])
    if kind == "page":
        first = _number(paging.get("start"), 1)
        begin = (_number(given, first) - first) * size
    elif kind == "keyset":
        begin = sum(1 for row in rows if given is not None and str(row[paging["field"]]) <= str(given))
    else:
        begin = _number(str(given or 0).removeprefix("c"), 0)
    more = begin + size < len(rows)
    said: dict[str, Any] = {}
    if paging.get("total"):
        said[paging["total"]] = len(rows)
    if paging.get("pages"):
        said[paging["pages"]] = -(-len(rows) // size)
    if paging.get("more"):
        said[paging["more"]] = more
    if kind == "cursor":
        following: Any = begin + size if isinstance(given, int) else f"c{begin + size}"
        said[paging["next"]] = following if more else None if isinstance(given, int) else ""
    if kind == "next_url" and more:
        said[paging["next"]] = f"{path}/next/{begin + size}"
    return list(rows[begin : begin + size]), said


def put(document: dict[str, Any], path: str, value: Any) -> Any:
    """Put a value at keys with points between them and return the document; with an empty path the value itself."""
    if not path:
        return value
    *above, last = path.split(".")
    place = document
    for key in above:
        place = place.setdefault(key, {})
    place[last] = value
    return document


def _number(value: Any, otherwise: int) -> int:
    return int(value) if str(value).isdigit() else otherwise
