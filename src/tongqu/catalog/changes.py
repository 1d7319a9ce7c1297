"""What changed between two states of a project, which changes break somebody, and who is downstream of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.core.errors import ExpressionError
from tongqu.meaning.expressions import arrow_type, cast, literal, type_of
from tongqu.meaning.widening import always_fits

Tree = Mapping[str, Any]

SECTIONS = (
    "environments", "naming", "files", "connections", "datasets", "pipelines", "sync", "reconcile", "apis", "alerts",
    "targets", "calendars", "hooks", "webhooks",
)  # fmt: skip
"""Sections whose entries are resources (`pipelines.daily`); any other key of the tree is a resource by itself."""

_WORDS = frozenset({"title", "description", "owner", "note"})
"""Keys that only tell people something: changing them changes no data."""


@dataclass(frozen=True)
class Detail:
    """One value that changed: `path` inside the resource, `before` and `after` (None: was not, is not there)."""

    path: str
    before: Any
    after: Any
    breaking: str = ""
    """Why it breaks somebody; empty if it does not."""

    def to_json(self) -> dict[str, Any]:
        """The detail as the documents show it."""
        return {"path": self.path, "before": self.before, "after": self.after, "breaking": self.breaking}


@dataclass(frozen=True)
class Change:
    """A resource that is to be created, updated or deleted; `affects` are the resources downstream of it."""

    resource: str
    action: str
    details: Sequence[Detail] = ()
    affects: Sequence[str] = ()

    @property
    def breaking(self) -> bool:
        """Whether somebody who relies on the resource must follow."""
        return any(detail.breaking for detail in self.details)

    def to_json(self) -> dict[str, Any]:
        """The change as `plan` shows it."""
        return {
            "resource": self.resource,
            "action": self.action,
            "breaking": self.breaking,
            "affects": list(self.affects),
            "details": [detail.to_json() for detail in self.details],
        }


def changes(before: Tree, after: Tree) -> list[Change]:
    """All changes between two trees, in the order of the sections, with everything downstream of each.

    Downstream is who read it before and who reads it now; a reader that is removed together with it is not hurt.
    """
    old, new = dict(resources(before)), dict(resources(after))
    reaches = (Reach(before), Reach(after))
    found: list[Change] = []
    for name in sorted(old.keys() | new.keys(), key=_order):
        affects = [r for r in dict.fromkeys(r for reach in reaches for r in reach.downstream(name)) if r in new]
        if name not in old:
            found.append(Change(name, "create", (), affects))
        elif name not in new:
            readers = ", ".join(affects)
            reason = f"{readers} still need it" if readers else ""
            found.append(Change(name, "delete", (Detail("", old[name], None, reason),), affects))
        elif old[name] != new[name]:
            details = tuple(_details(name, "", old[name], new[name]))
            words = all(_only_words(detail.path) for detail in details)
            found.append(Change(name, "update", details, () if words else affects))
    return found


def resources(tree: Tree) -> Iterator[tuple[str, Any]]:
    """Every resource of a tree by name."""
    for section, content in tree.items():
        if section in SECTIONS and isinstance(content, Mapping):
            for name, values in content.items():
                yield f"{section}.{name}", values
        else:
            yield section, content


def _order(resource: str) -> tuple[int, str]:
    section = resource.partition(".")[0]
    return (SECTIONS.index(section) if section in SECTIONS else -1, resource)


def _only_words(path: str) -> bool:
    return any(part in _WORDS for part in path.split("."))


def _details(resource: str, path: str, before: Any, after: Any) -> Iterator[Detail]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            inner = f"{path}.{key}" if path else str(key)
            if before.get(key) != after.get(key):
                yield from _details(resource, inner, before.get(key), after.get(key))
        return
    yield Detail(path, before, after, _breaks(resource.partition(".")[0], path, before, after))


def _breaks(section: str, path: str, before: Any, after: Any) -> str:
    rule = {"datasets": _dataset_breaks, "pipelines": _pipeline_breaks, "connections": _connection_breaks,
            "apis": _api_breaks}.get(section)  # fmt: skip
    return rule(path, before, after) if rule and not _only_words(path) else ""


def _dataset_breaks(path: str, before: Any, after: Any) -> str:
    parts = path.split(".")
    if parts[0] == "key" and before is not None:
        return "rows are told apart by another key"
    if parts[0] != "fields" or len(parts) < 2:
        return "fields that are not listed are refused from now on" if parts[0] == "closed" and after else ""
    if len(parts) == 2:
        return "the field is gone" if after is None else ""
    rule = parts[2]
    if rule == "type" and before is not None:
        exact = after is None or _widens(str(before), str(after))
        return "" if exact else f"not every {before} is a {after}"
    if rule == "unit" and before is not None:
        return f"the numbers mean {after or 'no unit'} instead of {before}"
    if rule in ("required", "unique", "pattern", "enum", "min", "max") and _stricter(rule, before, after):
        return "rows that were good are refused from now on"
    if rule in ("class", "mask"):
        return "who may see it changes"
    return ""


def _widens(before: str, after: str) -> bool:
    """Whether every value of the one type is exactly a value of the other; unknown types are not."""
    import pyarrow as pa

    try:
        found = type_of([cast(literal(None), kind) for kind in (before, after)], pa.schema([pa.field("x", pa.bool_())]))
    except ExpressionError:
        return False
    first, second = (pa.field("x", arrow_type(*kind)[0]) for kind in found)
    return always_fits(first, second)


def _stricter(rule: str, before: Any, after: Any) -> bool:
    if after is None or after is False:
        return False
    if before is None or before is False:
        return True
    try:
        if rule == "min":
            return bool(after > before)
        if rule == "max":
            return bool(after < before)
    except TypeError:
        return True
    if rule == "enum" and isinstance(before, list) and isinstance(after, list):
        return not set(map(str, before)) <= set(map(str, after))
    return True


def _pipeline_breaks(path: str, before: Any, after: Any) -> str:
    last = path.rpartition(".")[2]
    if path.startswith(("sink", "sinks")) and last in ("connection", "dataset"):
        return f"rows go to {after} and no longer to {before}" if before is not None else ""
    if path.startswith(("sink", "sinks")) and last in ("write", "key", "deletes"):
        return "rows meet the ones already there in another way"
    if path.startswith(("source", "sources")) and last in ("mode", "cursor", "connection", "dataset"):
        return "its stored position is not used any more; the next run reads from the beginning"
    if path in ("sink", "source") or path.startswith(("sinks.", "sources.")):
        return "one of its ends is another"
    return "the rows it gives are other rows" if path.startswith("steps") else ""


def _connection_breaks(path: str, before: Any, after: Any) -> str:
    del after
    if path in ("url", "host", "port", "database", "path", "type") and before is not None:
        return "it is another system: stored positions are not used any more"
    return ""


def _api_breaks(path: str, before: Any, after: Any) -> str:
    if path == "version":
        return ""
    if path.startswith("source") and before is not None:
        return "callers get the rows of another source"
    if path.startswith("access"):
        return "who may call it, or what they see, changes"
    return "callers lose it" if after is None and path == "" else ""


class Reach:
    """Which resources of a project take their data or meaning from which others, from its files alone."""

    def __init__(self, tree: Tree):
        self._next: dict[str, set[str]] = {}
        self._tree = tree
        tables: dict[str, set[str]] = {}
        for name, entry in self._entries("pipelines"):
            for end in _ends(entry, "sink"):
                tables.setdefault(_written(entry, end, name), set()).add(f"pipelines.{name}")
        for name, entry in self._entries("pipelines"):
            self._pipeline(name, entry, tables)
        for section in ("apis", "sync", "reconcile"):
            for name, entry in self._entries(section):
                for end in _places(entry):
                    self._reads(f"{section}.{name}", end, tables)
        for section in ("alerts", "targets"):
            for name, entry in self._entries(section):
                for used, _ in self._entries("pipelines"):
                    told = str(entry.get("when") or entry.get("measure") or "")
                    if f"pipeline.{used}." in told:
                        self._edge(f"pipelines.{used}", f"{section}.{name}")

    def downstream(self, resource: str) -> list[str]:
        """Everything that takes from it, near ones first; a circle ends where it closes."""
        found: dict[str, None] = {}
        waiting = [resource]
        while waiting:
            for name in sorted(self._next.get(waiting.pop(0), ())):
                if name != resource and name not in found:
                    found[name] = None
                    waiting.append(name)
        return list(found)

    def _pipeline(self, name: str, entry: Tree, tables: Mapping[str, set[str]]) -> None:
        own = f"pipelines.{name}"
        for end in _ends(entry, "source"):
            self._reads(own, end, tables)
        for end in _ends(entry, "sink"):
            self._edge(f"connections.{end.get('connection')}", own)
        for step in entry.get("steps") or ():
            checked = step.get("check") if isinstance(step, Mapping) else None
            if isinstance(checked, str):
                self._edge(f"datasets.{checked}", own)
        for end in _places({"steps": entry.get("steps")}):
            self._reads(own, end, tables)
        for name_of_file in self._tree.get("files") or ():
            if any(text.partition(":")[0] == name_of_file for text in _texts(entry)):
                self._edge(f"files.{name_of_file}", own)

    def _reads(self, reader: str, end: Tree, tables: Mapping[str, set[str]]) -> None:
        self._edge(f"connections.{end.get('connection')}", reader)
        meaning = end.get("as") or end.get("dataset")
        if meaning in (self._tree.get("datasets") or {}):
            self._edge(f"datasets.{meaning}", reader)
        for name in (end.get("dataset"), "*"):
            for writer in tables.get(f"{end.get('connection')}:{name}", ()):
                self._edge(writer, reader)

    def _entries(self, section: str) -> Iterator[tuple[str, Tree]]:
        content = self._tree.get(section)
        for name, entry in content.items() if isinstance(content, Mapping) else ():
            if isinstance(entry, Mapping):
                yield name, entry

    def _edge(self, source: str, reader: str) -> None:
        if source != reader:
            self._next.setdefault(source, set()).add(reader)


def _ends(entry: Tree, kind: str) -> Iterator[Tree]:
    single, several = entry.get(kind), entry.get(f"{kind}s")
    if isinstance(single, Mapping):
        yield single
    for end in several.values() if isinstance(several, Mapping) else ():
        if isinstance(end, Mapping):
            yield end


def _written(entry: Tree, end: Tree, name: str) -> str:
    """The table a sink writes: its own, else the name the data has; `*` where that is known only when it runs."""
    source = entry.get("source")
    own = source.get("as") or source.get("dataset") if isinstance(source, Mapping) else name
    return f"{end.get('connection')}:{end.get('dataset') or own or '*'}"


def _places(value: Any) -> Iterator[Tree]:
    """Every mapping anywhere inside that names a connection."""
    if isinstance(value, Mapping):
        if "connection" in value:
            yield value
        for inner in value.values():
            yield from _places(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _places(inner)


def _texts(value: Any) -> Iterator[str]:
    """Every text anywhere inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
