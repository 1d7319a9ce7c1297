"""For each changed field of the dictionary: which pipelines follow by themselves, and where the others break."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from tongqu.app.project.model import PipelineEntry
from tongqu.catalog.impact import DatasetState, PipelineUse, impact, state, uses
from tongqu.core.errors import ExpressionError
from tongqu.engine.job import Stream
from tongqu.meaning.expressions import arrow_type, cast, literal, type_of

Tree = Mapping[str, Any]


def impacts(
    before: Tree, after: Tree, pipelines: Mapping[str, PipelineEntry], streams: Mapping[str, Sequence[Stream]]
) -> list[dict[str, str]]:
    """Lines of `resource path field verdict reason dataset`, breaking ones first, for datasets whose fields or key
    changed. `streams` are the compiled pipelines, as far as their systems could be looked at."""
    found = []
    old, new = before.get("datasets") or {}, after.get("datasets") or {}
    for name in old.keys() & new.keys():
        if (old[name].get("fields"), old[name].get("key")) == (new[name].get("fields"), new[name].get("key")):
            continue
        states = (_state(name, old[name]), _state(name, new[name]))
        mode = str(new[name].get("schema_changes", "evolve"))
        used = [
            _use(pipeline, entry, name, states=states, streams=streams.get(pipeline, ()), mode=mode)
            for pipeline, entry in pipelines.items()
            if _reads(entry, name)
        ]
        found += [{**asdict(line), "dataset": name} for line in impact(*states, used)]
    return sorted(found, key=lambda line: line["verdict"] != "breaks")


def _reads(entry: PipelineEntry, dataset: str) -> bool:
    return any((end.as_ or end.dataset) == dataset for end in entry.all_sources.values())


def _use(
    name: str, entry: PipelineEntry, dataset: str, *, states: tuple[DatasetState, DatasetState],
    streams: Sequence[Stream], mode: str,
) -> PipelineUse:  # fmt: skip
    sink = next(iter(entry.all_sinks.values()))
    changed = _changed(*states)
    steps = next(
        (uses(stream.source_dataset, stream.chain.steps, _known(changed, stream))
         for stream in streams if stream.chain is not None),
        [],
    )  # fmt: skip
    write = streams[0].write.value if streams else sink.write or "replace"
    cursor = next((end.cursor for end in entry.all_sources.values() if end.cursor), "") or ""
    return PipelineUse(name, dataset, steps, tuple(sink.key), cursor, mode, write, f"pipelines.{name}")


def _known(changed: Mapping[str, pa.Field[Any] | None], stream: Stream) -> dict[str, pa.Field[Any] | None]:
    return {name: new for name, new in changed.items() if name in stream.source_dataset.columns}


def _changed(before: DatasetState, after: DatasetState) -> dict[str, pa.Field[Any] | None]:
    found: dict[str, pa.Field[Any] | None] = {}
    for name, old in before.fields.items():
        new = after.fields.get(name)
        if new is None:
            found[name] = None
        elif old.type is not None and new.type is not None and old.type != new.type:
            found[name] = pa.field(name, new.type)
    return found


def _state(name: str, entry: Tree) -> DatasetState:
    fields = entry.get("fields") or {}
    return state(name, entry, dict(_types((field, (told or {}).get("type")) for field, told in fields.items())))


def _types(declared: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, pa.DataType]]:
    """The Arrow types of declared ones; what is no type is left out, since the check of the files has told it."""
    for name, text in declared:
        if text is None:
            continue
        try:
            (kind,) = type_of([cast(literal(None), str(text))], pa.schema([pa.field("x", pa.bool_())]))
        except ExpressionError:
            continue
        yield name, arrow_type(*kind)[0]
