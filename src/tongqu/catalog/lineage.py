"""Where a field comes from and where it goes, column by column, as executed pipelines recorded it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.core.errors import NotFoundError

Place = tuple[str, str]
"""A connection's name (or URL without password) and a dataset in it."""


@dataclass(frozen=True)
class Flow:
    """What one stream did: which columns of its sources became which columns of its target.

    `columns` has for each target column the (connection, dataset, column) triples its values came from.
    """

    name: str
    kind: str
    """`sync` or `run`."""
    mode: str
    write: str
    sources: Sequence[Place]
    sink: Place
    columns: Mapping[str, Sequence[tuple[str, str, str]]]
    steps: Sequence[str] = ()
    """The steps in between as `id:verb`."""
    run: str = ""
    project: str = ""
    version: int = 0
    """The applied version the files were, 0 for none."""
    hash: str = ""
    first_at: str = ""
    last_at: str = ""
    key: Sequence[str] = ()
    """Key columns of the target."""
    copies: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Columns of the target that are unchanged copies, with the column they copy."""
    links: Sequence[tuple[tuple[str, str, str], tuple[str, str, str]]] = ()
    """Pairs of source columns that are equal in the rows that a step brought together."""

    @property
    def id(self) -> str:
        """The same for every run that moves the same columns by the same steps."""
        told = [self.name, self.kind, [list(place) for place in self.sources], list(self.sink), self.mode, self.write,
                {name: sorted(map(list, found)) for name, found in self.columns.items()}, list(self.steps),
                list(self.key), {name: list(found) for name, found in self.copies.items()}]  # fmt: skip
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Node:
    """A field of a dataset."""

    connection: str
    dataset: str
    field: str

    @property
    def id(self) -> str:
        """`connection.dataset.field`."""
        return f"{self.connection}.{self.dataset}.{self.field}"


@dataclass(frozen=True)
class Edge:
    """Values of one field became values of another, by a pipeline."""

    source: Node
    target: Node
    flow: Flow


class Lineage:
    """All recorded flows as one graph of fields."""

    def __init__(self, flows: Iterable[Flow]):
        self._edges: list[Edge] = []
        self._nodes: dict[Node, None] = {}
        for flow in flows:
            for column, origins in flow.columns.items():
                target = Node(*flow.sink, column)
                self._nodes[target] = None
                for origin in origins:
                    source = Node(*origin)
                    self._nodes[source] = None
                    self._edges.append(Edge(source, target, flow))

    @property
    def nodes(self) -> list[Node]:
        """All fields, in the order in which they were recorded."""
        return list(self._nodes)

    @property
    def edges(self) -> list[Edge]:
        """All edges."""
        return list(self._edges)

    def find(self, name: str) -> list[Node]:
        """The fields that a name means: `field`, `dataset.field`, `connection.dataset.field`, or a whole dataset.

        Raises NotFoundError with similar names.
        """
        found = [node for node in self._nodes if _means(name, node)]
        if found:
            return found
        from difflib import get_close_matches

        known = sorted({part for node in self._nodes for part in (node.id, f"{node.dataset}.{node.field}", node.field)})
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"similar: {', '.join(near)}" if near else "lineage is recorded by runs: run the pipeline first"
        raise NotFoundError(f"no run has moved a field {name!r}", hint=hint, path=name, params={"name": name})

    def around(self, starts: Sequence[Node], *, up: bool = True, down: bool = True) -> tuple[list[Node], list[Edge]]:
        """The fields these come from, the ones that come from them, and the edges between."""
        nodes: dict[Node, None] = dict.fromkeys(starts)
        edges: dict[tuple[Node, Node, str], Edge] = {}
        for forward in [False] * up + [True] * down:
            waiting, seen = list(starts), set(starts)
            while waiting:
                here = waiting.pop(0)
                for edge in self._edges:
                    mine, other = (edge.source, edge.target) if forward else (edge.target, edge.source)
                    if mine != here:
                        continue
                    edges[(edge.source, edge.target, edge.flow.id)] = edge
                    nodes[other] = None
                    if other not in seen:
                        seen.add(other)
                        waiting.append(other)
        return list(nodes), list(edges.values())


def document(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, Any]:
    """Nodes and edges in the shape of the CLI."""
    return {
        "nodes": [
            {"id": node.id, "connection": node.connection, "dataset": node.dataset, "field": node.field}
            for node in nodes
        ],
        "edges": [
            {"from": edge.source.id, "to": edge.target.id, "pipeline": edge.flow.name, "steps": list(edge.flow.steps),
             "run": edge.flow.run, "version": edge.flow.version, "at": edge.flow.last_at}
            for edge in edges
        ],
    }  # fmt: skip


def open_lineage(flows: Iterable[Flow], producer: str) -> list[dict[str, Any]]:
    """Each flow as an OpenLineage run event (spec 2-0-2) with the column-lineage facet (1-2-0) on its output."""
    base = "https://openlineage.io/spec"
    events = []
    for flow in flows:
        fields = {
            column: {"inputFields": [{"namespace": c, "name": d, "field": f} for c, d, f in origins]}
            for column, origins in flow.columns.items()
        }
        facet = {"_producer": producer, "_schemaURL": f"{base}/facets/1-2-0/ColumnLineageDatasetFacet.json",
                 "fields": fields}  # fmt: skip
        events.append(
            {
                "eventType": "COMPLETE",
                "eventTime": flow.last_at,
                "producer": producer,
                "schemaURL": f"{base}/2-0-2/OpenLineage.json#/$defs/RunEvent",
                "run": {"runId": _uuid(flow.run)},
                "job": {"namespace": flow.project or "tongqu", "name": flow.name},
                "inputs": [{"namespace": c, "name": d} for c, d in flow.sources],
                "outputs": [{"namespace": flow.sink[0], "name": flow.sink[1], "facets": {"columnLineage": facet}}],
            }
        )
    return events


def _means(name: str, node: Node) -> bool:
    table = f"{node.connection}.{node.dataset}"
    return name in (node.field, f"{node.dataset}.{node.field}", node.id, table, node.dataset)


def _uuid(run: str) -> str:
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tongqu:{run}"))
