"""A replace fills an index of its own, and an alias of the dataset's name is moved to it in one step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tongqu.connectors.elasticsearch.cluster import Cluster, named
from tongqu.connectors.elasticsearch.mapping import OURS
from tongqu.core.errors import CheckpointError, NotFoundError
from tongqu.kit.undoing import nothing_kept

_OF, _BEFORE = "of", "before"
_SETTINGS = ("analysis", "similarity", "number_of_shards", "number_of_replicas", "max_result_window")
"""What a generation has from the one before, beside the mapping."""


def generation(index: str, run: str) -> str:
    """The index that a run fills in place of another."""
    return f"{index}-{hashlib.blake2b(run.encode(), digest_size=8).hexdigest()}"


def told(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What the mapping of an index holds of ours: `key`, and for a generation `of` which name it is and the index
    `before` it."""
    held = mapping.get("mappings", {}).get("_meta", {}).get(OURS)
    return dict(held) if isinstance(held, dict) else {}


def shown(cluster: Cluster) -> dict[str, Any]:
    """The mappings of all indices by the names that they are read by: a generation by its alias, one that no alias
    shows not at all."""
    mappings, found = cluster.mappings(), {}
    several = any(_OF in told(mapping) for mapping in mappings.values())
    aliases = cluster.ask("GET", "/_alias") if several else {}
    for index, mapping in mappings.items():
        name = str(told(mapping).get(_OF, index))
        if name == index or name in aliases.get(index, {}).get("aliases", {}):
            found[name] = mapping
    return found


class Generations:
    """The indices of one name."""

    def __init__(self, cluster: Cluster, index: str):
        self._cluster, self._index = cluster, index

    def apart(self) -> bool:
        """Whether a replace can fill an index of its own: there is none of the name yet, or Tongqu made it. An index
        that others made keeps its identity."""
        there = self._mappings(self._index)
        ours = [told(mapping) for mapping in there.values()]
        return not ours or (len(ours) == 1 and bool(ours[0]) and ours[0].get(_OF, self._index) == self._index)

    def create(self, new: str, mapping: dict[str, Any], *, filled: bool) -> bool:
        """Create the index of a generation unless it is there, shaped like the present one with what it lacks; tells
        whether it was created. Raises CheckpointError if it is not there though rows went into it (`filled`)."""
        if self._mappings(new):
            return False
        if filled:
            raise self._gone(new)
        meta = {OURS: {**mapping["_meta"][OURS], _OF: self._index}}
        fields = dict(mapping["properties"])
        body: dict[str, Any] = {"mappings": {"_meta": meta, "properties": fields}}
        for name, there in self._mappings(self._index).items():
            shape = there.get("mappings", {})
            body["mappings"] = {
                **shape, "_meta": {**shape.get("_meta", {}), **meta},
                "properties": {**shape.get("properties", {}), **fields},
            }  # fmt: skip
            held = self._cluster.ask("GET", f"/{named(name)}/_settings").get(name, {}).get("settings", {})
            body["settings"] = {key: value for key, value in held.get("index", {}).items() if key in _SETTINGS}
        self._cluster.ask("PUT", f"/{named(new)}", body)
        return True

    def publish(self, new: str) -> None:
        """Let the name mean this generation. Readers see the one or the other; the one before is kept, older ones are
        dropped. An index of that very name cannot be kept: the alias takes its place. Raises CheckpointError for a
        generation that somebody dropped meanwhile: a server makes an index anew for the rows that come after."""
        present = self._shown()
        if present != new:
            if told(self._mappings(new).get(new, {})).get(_OF) != self._index:
                raise self._gone(new)
            if present:
                self._remember(new, present)
            self._move(present, new)
        kept = {new, told(self._mappings(new).get(new, {})).get(_BEFORE)}
        for index, mapping in self._mappings(f"{self._index}-*").items():
            if told(mapping).get(_OF) == self._index and index not in kept:
                self._drop(index)

    def undo(self, dataset: str) -> int:
        """Exchange the present generation with the one before; returns the documents of that. Raises NotFoundError if
        none is kept."""
        present = self._shown()
        before = told(self._mappings(present).get(present, {})).get(_BEFORE) if present else None
        if not before or not self._mappings(before):
            raise nothing_kept(dataset)
        self._remember(before, present)
        self._move(present, before)
        return int(self._cluster.ask("POST", f"/{named(before)}/_count", {"query": {"match_all": {}}})["count"])

    def _gone(self, new: str) -> CheckpointError:
        return CheckpointError(
            f"the index {new} that was being filled for {self._index} was dropped", path=self._index,
            hint="read all rows again: run the same command with --restart",
        )  # fmt: skip

    def _shown(self) -> str:
        """The index that the name means as an alias; empty if it is none."""
        try:
            return str(next(iter(self._cluster.ask("GET", f"/_alias/{named(self._index)}"))))
        except NotFoundError:
            return ""

    def _move(self, present: str, new: str) -> None:
        """One step: the name, and what else the present index is called, means the new one."""
        actions: list[dict[str, Any]] = []
        called: dict[str, Any] = {self._index: {}}
        if present or self._mappings(self._index):
            old = present or self._index
            called |= self._cluster.ask("GET", f"/{named(old)}/_alias").get(old, {}).get("aliases", {})
            gone = [{"remove": {"index": old, "alias": name}} for name in called]
            actions = gone if present else [{"remove_index": {"index": old}}]
        actions += [{"add": {**how, "index": new, "alias": name}} for name, how in called.items()]
        self._cluster.ask("POST", "/_aliases", {"actions": actions})

    def _remember(self, index: str, before: str) -> None:
        held = told(self._mappings(index)[index])
        self._cluster.ask("PUT", f"/{named(index)}/_mapping", {"_meta": {OURS: {**held, _BEFORE: before}}})

    def _mappings(self, index: str) -> dict[str, Any]:
        try:
            return self._cluster.mappings(index)
        except NotFoundError:
            return {}

    def _drop(self, index: str) -> None:
        try:
            self._cluster.ask("DELETE", f"/{named(index)}")
        except NotFoundError:
            return
