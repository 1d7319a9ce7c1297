"""`lineage`: the fields around a field, from what runs recorded."""

from __future__ import annotations

from typing import Any

from tongqu.catalog.lineage import Flow, Lineage, document, open_lineage
from tongqu.core.errors import NotFoundError
from tongqu.store.runs import Runs

PRODUCER = "https://pypi.org/project/tongqu"


def recorded(runs: Runs | None) -> list[Flow]:
    """All flows of this home; raises NotFoundError if nothing ran yet."""
    found = [_flow(values) for values in runs.flows()] if runs else []
    if not found:
        raise NotFoundError("no run has recorded lineage yet", hint="run a pipeline or a sync first")
    return found


def around(runs: Runs | None, name: str, *, up: bool, down: bool) -> dict[str, Any]:
    """Nodes and edges around the fields that a name means."""
    graph = Lineage(recorded(runs))
    nodes, edges = graph.around(graph.find(name), up=up, down=down)
    return document(nodes, edges)


def exported(runs: Runs | None) -> list[dict[str, Any]]:
    """Everything as OpenLineage events."""
    return open_lineage(recorded(runs), PRODUCER)


def _flow(values: dict[str, Any]) -> Flow:
    plain = {name: value for name, value in values.items() if name != "id"}
    plain["sources"] = [tuple(place) for place in values["sources"]]
    plain["sink"] = tuple(values["sink"])
    plain["columns"] = {name: [tuple(origin) for origin in found] for name, found in values["columns"].items()}
    plain["links"] = [(tuple(first), tuple(second)) for first, second in values["links"]]
    plain["copies"] = {name: tuple(origin) for name, origin in values["copies"].items()}
    return Flow(**plain)
