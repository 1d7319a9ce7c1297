"""What a dataset's files look like, found by looking at no more of them than is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tongqu.connectors.file.arrivals import Known, versions
from tongqu.connectors.file.layout import Layout, Part, look
from tongqu.connectors.file.memory import Memory, Remembered
from tongqu.connectors.file.passing import passing
from tongqu.connectors.file.shelf import Shelf
from tongqu.kit.files import Found
from tongqu.kit.formats.inference import widest


@dataclass(frozen=True)
class Looked:
    """A dataset's layout; `files` are those that were looked at, one for each of its parts."""

    layout: Layout
    files: tuple[Found, ...]
    whole: bool
    """Whether these are all of the dataset's files."""
    form: str
    """The raw format in which all of the dataset's files pass; empty if there is none."""

    def parts(self) -> dict[int, Part]:
        """The parts by the `id` of their file, of which there may be many."""
        return {id(one): part for one, part in zip(self.files, self.layout.parts, strict=True)}


def look_at_all(shelf: Shelf, name: str, found: Sequence[Found], known: pa.Schema | None = None) -> Looked:
    """Look at all files; columns have the types of `known` where that is told already."""
    layout = look(name, found, shelf.settings.of(name), known)
    return Looked(layout, tuple(found), True, _form(shelf, layout))


def look_at_new(shelf: Shelf, memory: Memory, name: str, found: Sequence[Found]) -> Looked:
    """Look at the files only that were not there when an incremental read last looked; at all of them if others have
    changed or gone, or if their columns do not simply go together with what is remembered."""
    before = memory.remembered(name, shelf.settings.of(name))
    new = _new(shelf, before, found) if before is not None else None
    if before is None or new is None:
        return look_at_all(shelf, name, found)
    if not new:
        layout = Layout(name, before.schema, (), None, before.key)
        return Looked(layout, (), False, before.form)
    looked = look_at_all(shelf, name, new)
    schema = _together(before.schema, looked.layout.schema)
    if schema is None or looked.layout.key != before.key:
        return look_at_all(shelf, name, found)
    if any(part.format == "jsonl" for part in looked.layout.parts) and not looked.layout.schema.equals(schema):
        looked = look_at_all(shelf, name, new, schema)  # which values are taken as texts depends on the whole
    layout = replace(looked.layout, schema=schema, rows=None)
    return Looked(layout, looked.files, False, looked.form if looked.form == before.form else "")


def _new(shelf: Shelf, before: Remembered, found: Sequence[Found]) -> list[Found] | None:
    """The files that are not among those remembered; None if one of those has changed, or is gone and should not be."""
    listed = versions(shelf, found)
    here = Known(listed.values())
    if any(here.get(name, version) != version for name, version in before.files.items()):
        return None
    if shelf.settings.after == "keep" and before.files.keys() - here.keys():
        return None
    known = {path for path, (name, _) in listed.items() if name in before.files}
    return [one for one in found if shelf.path_of(one) not in known]


def _together(one: pa.Schema, other: pa.Schema) -> pa.Schema | None:
    """The columns of both; None where a type that holds both is not plain to see."""
    fields = {field.name: field for field in one}
    for field in other:
        before = fields.get(field.name)
        if before is None or before.type == field.type:
            fields.setdefault(field.name, field)
            continue
        kind = widest((before.type, field.type))
        if pa.types.is_string(kind) or pa.types.is_nested(before.type):
            return None
        fields[field.name] = before.with_type(kind)
    return pa.schema(list(fields.values()))


def _form(shelf: Shelf, layout: Layout) -> str:
    forms = {passing(part, layout.schema, shelf) for part in layout.parts}
    return (forms.pop() or "") if len(forms) == 1 else ""
