"""Who is hurt when a field of the dictionary changes, and who follows by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import TongquError
from tongqu.core.operator import Step
from tongqu.meaning.widening import holds

Verdict = Literal["follows", "breaks"]


@dataclass(frozen=True)
class FieldState:
    """A field as an entry of the dictionary, or a live source, has it."""

    name: str
    type: pa.DataType | None = None
    """None where the dictionary does not say."""
    required: bool = False
    renamed_from: str | None = None


@dataclass(frozen=True)
class DatasetState:
    """A dataset at one time: its fields by name, its key, and whether other fields are refused."""

    name: str
    fields: Mapping[str, FieldState]
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepUse:
    """One step of a pipeline, in the names of the dataset's fields that reach it.

    `reads` are fields it looks at by name (a condition, an expression, a setting); `passes` are those it hands on
    because everything is handed on, without their names standing in the file.
    """

    path: str
    reads: frozenset[str] = frozenset()
    passes: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()
    """Of the fields it reads, those whose type matters to it (arithmetic, units); the others work with any."""


@dataclass(frozen=True)
class PipelineUse:
    """How a pipeline uses one dataset, as plain data taken from its compiled steps."""

    name: str
    dataset: str
    steps: Sequence[StepUse] = ()
    key: tuple[str, ...] = ()
    """The key it declares itself."""
    cursor: str = ""
    schema_changes: str = "evolve"
    """What its sink does when other columns arrive."""
    write: str = "replace"
    path: str = ""


@dataclass(frozen=True)
class Affected:
    """What one change of a field means for one pipeline or step of it."""

    resource: str
    """`pipelines.NAME`."""
    path: str
    """Where: a step's path, or the end that names the field."""
    field: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class _Change:
    field: str
    kind: Literal["new", "dropped", "renamed", "widened", "retyped", "key", "optional"]
    detail: str = ""
    new: str = ""
    whole: str = ""
    """The detail as a sentence with the field: whole, so that phrase books can hold it."""


def impact(before: DatasetState, after: DatasetState, pipelines: Sequence[PipelineUse]) -> list[Affected]:
    """For every pipeline on the dataset and every changed field: follows by itself, or breaks, where and why.

    A pipeline that does not use the dataset is not listed; one that does is listed for each change, so that whoever
    asks sees that it was thought of. Breaking lines come first, then in the order of the pipelines.
    """
    changes = list(_changes(before, after))
    found: list[Affected] = []
    for pipeline in pipelines:
        if pipeline.dataset in (before.name, after.name):
            for change in changes:
                found += _on(pipeline, change)
    return sorted(found, key=lambda one: one.verdict != "breaks")


def _changes(before: DatasetState, after: DatasetState) -> list[_Change]:
    renamed = {
        state.renamed_from: name
        for name, state in after.fields.items()
        if state.renamed_from in before.fields and name not in before.fields and state.renamed_from not in after.fields
    }
    found = [
        _Change(old, "renamed", f"is now {new!r}", new, f"{old!r} is now {new!r}")
        for old, new in renamed.items()
        if old is not None
    ]
    for name, old in before.fields.items():
        new = after.fields.get(renamed.get(name, name))
        if new is None:
            found.append(_Change(name, "dropped", "is gone", whole=f"{name!r} is gone"))
            continue
        if old.type is not None and new.type is not None and old.type != new.type:
            wider = holds(pa.field(name, new.type), pa.field(name, old.type))
            told = f"was {old.type} and is {new.type}"
            whole = f"{name!r} was {old.type} and is {new.type}"
            found.append(_Change(name, "widened" if wider else "retyped", told, whole=whole))
        if old.required and not new.required:
            found.append(_Change(name, "optional", "may be null now", whole=f"{name!r} may be null now"))
    taken = set(renamed.values())
    found += [
        _Change(name, "new", "is new", whole=f"{name!r} is new")
        for name in after.fields
        if name not in before.fields and name not in taken
    ]
    if set(before.key) != {renamed_back(renamed, name) for name in after.key}:
        told = f"the key was ({', '.join(before.key)}) and is ({', '.join(after.key)})"
        found.append(_Change(", ".join(after.key), "key", told))
    return found


def renamed_back(renamed: Mapping[str | None, str], name: str) -> str:
    """The old name of a field, or its own if it was not renamed."""
    return next((old for old, new in renamed.items() if new == name and old is not None), name)


def _on(pipeline: PipelineUse, change: _Change) -> list[Affected]:
    """What a change means at each place that names the field, or one line that nobody does."""
    resource = f"pipelines.{pipeline.name}"

    def line(path: str, verdict: Verdict, reason: str) -> Affected:
        return Affected(resource, path or pipeline.path or resource, change.field, verdict, reason)

    if change.kind == "key":
        return [line(*_new_key(pipeline, change))]
    found: list[Affected] = []
    gone = change.kind in ("dropped", "renamed")
    for step in pipeline.steps:
        if change.field in step.reads and gone:
            found.append(line(step.path, "breaks", f"the step names {change.field!r}, which {change.detail}"))
        elif change.field in step.typed and change.kind == "retyped":
            found.append(
                line(step.path, "breaks", f"the step needs the type of {change.field!r}, which {change.detail}")
            )
        elif change.field in step.reads and change.kind in ("retyped", "widened"):
            found.append(line(step.path, "follows", f"{change.whole}; the step takes it"))
    for what, names in (("key", pipeline.key), ("cursor", (pipeline.cursor,))):
        if change.field in names and gone:
            found.append(
                line(
                    f"{pipeline.path or resource}.{what}",
                    "breaks",
                    f"its {what} is {change.field!r}, which {change.detail}",
                )
            )
    if any(one.verdict == "breaks" for one in found):
        return found
    verdict, reason = _at_the_sink(pipeline, change)
    return [*found, line("", verdict, reason)]


def _new_key(pipeline: PipelineUse, change: _Change) -> tuple[str, Verdict, str]:
    if pipeline.key:
        return "", "follows", f"{change.detail}; the pipeline names its own: {', '.join(pipeline.key)}"
    if pipeline.write == "append":
        return "", "follows", f"{change.detail}; rows are appended"
    if pipeline.write == "replace" and pipeline.schema_changes == "evolve":
        return "", "follows", f"{change.detail}; the next generation takes the new key"
    return "", "breaks", f"{change.detail}; write mode {pipeline.write!r} keeps the target's key"


_FOLLOWED = {
    "new": "the target gets the column",
    "dropped": "the target keeps the column, with null in new rows",
    "renamed": "the target's column is renamed",
    "widened": "the target's column is widened",
    "retyped": "values that do not fit the target go to quarantine",
    "optional": "the target's column may be null",
}


def _at_the_sink(pipeline: PipelineUse, change: _Change) -> tuple[Verdict, str]:
    """What the sink does with a field that no step stops."""
    told = change.whole
    reaches = not pipeline.steps or any(change.field in step.passes | step.reads for step in pipeline.steps[-1:])
    if not reaches and change.kind != "new":
        return "follows", f"{told}; it does not reach the sink"
    if pipeline.schema_changes == "freeze":
        return "breaks", f"{told}, and schema_changes is freeze"
    if pipeline.schema_changes == "evolve":
        return "follows", f"{told}; {_FOLLOWED[change.kind]}"
    given = "values" if pipeline.schema_changes == "discard_column" else "rows"
    if change.kind in ("dropped", "optional"):
        return (
            "follows",
            f"{told}; {_FOLLOWED['dropped'] if change.kind == 'dropped' else 'rows with null are set aside'}",
        )
    return "follows", f"{told}; the target stays, and {given} that it cannot hold are given up"


def state(name: str, entry: Mapping[str, Any], types: Mapping[str, pa.DataType]) -> DatasetState:
    """A dictionary entry as plain YAML (`{key, fields: {name: {type, required, renamed_from, key}}}`); `types` are the
    Arrow types of its fields, as far as they are declared."""
    fields = entry.get("fields") or {}
    made = {
        field: FieldState(field, types.get(field), bool((told or {}).get("required")), (told or {}).get("renamed_from"))
        for field, told in fields.items()
    }
    key = entry.get("key") or [field for field, told in fields.items() if (told or {}).get("key")]
    return DatasetState(name, made, tuple([key] if isinstance(key, str) else key))


def uses(dataset: Dataset, steps: Sequence[Step], changed: Mapping[str, pa.Field[Any] | None]) -> list[StepUse]:
    """How a linear pipeline's steps use the changed fields of its source: by compiling them without a field that is
    gone (None), or with the type that it gets. What a step says then is the truth, whatever its settings look like.

    Raises what the steps raise for the dataset as it is.
    """
    reads: list[set[str]] = [set() for _ in steps]
    typed: list[set[str]] = [set() for _ in steps]
    origins = {name: {name} for name in dataset.columns}
    before = dataset
    reach: list[set[str]] = []
    for number, step in enumerate(steps):
        reads[number] |= {old for _, name in step.operator.reads([before]) for old in origins[name]} & changed.keys()
        made = step.operator.lineage([before])
        origins = {new: set().union(*(origins[old] for _, old in sources)) for new, sources in made.items()}
        reach.append(set().union(*origins.values()) & changed.keys())
        before = step.operator.output([before])
    for name, new in changed.items():
        stops = _stops(dataset, steps, name, new)
        if stops is not None:
            (reads if new is None else typed)[stops].add(name)
            reads[stops].add(name)
    return [
        StepUse(step.path, frozenset(read), frozenset(passed), frozenset(kind))
        for step, read, passed, kind in zip(steps, reads, reach, typed, strict=True)
    ]


def _stops(dataset: Dataset, steps: Sequence[Step], name: str, new: pa.Field[Any] | None) -> int | None:
    """The first step that does not compile when a field is gone or of another type; None if all do."""
    kept = [field if field.name != name else new for field in dataset.schema]
    present = [field for field in kept if field is not None]
    key = dataset.key if new is not None else tuple(column for column in dataset.key if column != name)
    before = replace(dataset, schema=pa.schema(present), key=key, indexes=(), foreign_keys=())
    for number, step in enumerate(steps):
        try:
            before = step.operator.output([before])
        except TongquError:
            return number
    return None
