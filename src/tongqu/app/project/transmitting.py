"""Pipelines that follow a log into several sinks: captured once into a queue, from which each sink goes at its pace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.app.project.connections import connector_of
from tongqu.app.project.places import Places
from tongqu.app.project.sides import check_sides, is_side, split
from tongqu.core.errors import InvalidSettingsError, TongquError

_WRITES = {"cdc": "upsert", "stream": "append"}
"""How changes, and messages, are kept in the queue."""


def with_queues(
    sections: dict[str, dict[str, Any]], bus: str | None, places: Places, problems: list[TongquError]
) -> dict[str, tuple[str, ...]]:
    """Say such pipelines in full, in the section itself: `NAME` goes from the source into a queue, and `NAME.SINK` from
    there through the steps into each sink. The queue is the connection `bus`, or else a file of its own for each
    pipeline, as the connection `NAME.queue`; on Kafka that connection is the bus with topics of the pipeline's own.
    Gives the names that a pipeline's sinks have got.

    Pipelines of several sources, and those whose sinks take different steps (`from`), stay as they are.
    """
    pipelines, carried = sections["pipelines"], {}
    check_sides({name: values for name, values in pipelines.items() if not _fans_out(values)}, places, problems)
    for name, values in list(pipelines.items()):
        if not _fans_out(values):
            continue
        source, sinks = values["source"], values["sinks"]
        names = {one: f"{name}.{one}" for one in sinks}
        own = _own(name, bus, sections["connections"])
        queue = f"{name}.queue" if own else str(bus)
        taken = [made for made in names.values() if made in pipelines]
        if taken or (own and queue in sections["connections"]):
            what = taken[0] if taken else queue
            path = places.path(("pipelines", name, "sinks"))
            problems.append(
                InvalidSettingsError(f"{what!r} stands for a part of {name!r} and is defined too", path=path)
            )
            continue
        if own:
            sections["connections"] = {**sections["connections"], queue: own}
        topic = name if not own and source.get("dataset") else source.get("dataset")
        first = {"connection": queue, "write": _WRITES[source["mode"]]}
        kept = {word: values[word] for word in ("title", "description", "schedule", "limit") if word in values}
        pipelines[name] = {**kept, "source": source, "sink": first | ({"dataset": topic} if topic else {})}
        steps = split(name, values, places, problems)
        rest = {word: value for word, value in values.items() if word not in ("source", "sinks")}
        then = {word: value for word, value in source.items() if word in ("mode", "as", "key")}
        then |= {"connection": queue} | ({"dataset": topic} if topic else {"datasets": ["*"]})
        for one, sink in sinks.items():
            target = {"dataset": source.get("as") or source["dataset"]} if topic else {}
            aside = is_side(sink)
            own_steps = {"steps": steps.late if aside else steps.windows} if steps is not None else {}
            kind = {"write": "append"} if aside else {}
            plain = {word: value for word, value in sink.items() if word != "side"}
            made = {**target, **kind, **plain}
            pipelines[names[one]] = {**rest, **own_steps, "source": then, "sink": made}
            _marked(places, name, one)
        carried[name] = tuple(names.values())
    return carried


def _own(name: str, bus: str | None, connections: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a queue of the pipeline's own; empty where the bus is used as it is."""
    if not bus:
        return {"type": "queue", "path": f"{name}.queue"}
    values = connections.get(bus)
    try:
        system = connector_of(values).name if isinstance(values, Mapping) else ""
    except TongquError:  # which is told where connections are checked
        return {}
    return {**values, "queue": name} if system == "kafka" and isinstance(values, Mapping) else {}


def _fans_out(values: Any) -> bool:
    if not isinstance(values, Mapping):
        return False
    source, sinks = values.get("source"), values.get("sinks")
    if not isinstance(source, Mapping) or not isinstance(sinks, Mapping) or len(sinks) < 2:
        return False
    plain = all(isinstance(sink, Mapping) and "from" not in sink for sink in sinks.values())
    return plain and source.get("mode") in _WRITES


def _marked(places: Places, name: str, sink: str) -> None:
    """Errors in what was made point at what it was made of."""
    made = f"{name}.{sink}"
    for key, mark in list(places.marks.items()):
        if key[:2] != ("pipelines", name):
            continue
        if key[2:4] == ("sinks", sink):
            places.marks[("pipelines", made, "sink", *key[4:])] = mark
        elif key[2:3] != ("sinks",):
            places.marks[("pipelines", made, *key[2:])] = mark
