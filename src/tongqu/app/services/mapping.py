"""`mapping`: suggests a mapping sheet for a source, and shows a sheet as the steps of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.app.project.load import Project
from tongqu.app.project.model import DatasetEntry, FieldEntry
from tongqu.app.project.places import nearest
from tongqu.app.services.ends import End
from tongqu.catalog.mapping_sheet import Line, MappingSheet, read_sheet, write_sheet
from tongqu.catalog.matching import Match, Source, Standard, suggest
from tongqu.core.data import Dataset, Meta, Read
from tongqu.core.errors import InvalidPlanError, NotFoundError, SchemaError, UnknownNameError, learnt
from tongqu.kit.formats.text import as_text

_SAMPLE = 2000
_KEPT = ("sheet", "header", "skip_rows", "records", "encoding", "null", "types", "nested", "layout")
"""Settings of a file source that are choices about its content."""


def suggested(end: End, project: Project, dataset: str, *, table: str, out: Path, language: str) -> dict[str, Any]:
    """Write a mapping sheet for a dataset of the source and an entry of the dictionary. The document has `file`,
    `mapping`, and what found no partner: `unmapped` source fields, `missing` standard fields.

    Raises UnknownNameError if the dictionary has no such entry, InvalidPlanError if the source has several datasets
    and `table` names none.
    """
    entry = project.dictionary.get(dataset)
    if entry is None:
        raise UnknownNameError(
            f"no dataset {dataset!r} in the dictionary",
            path="--dataset",
            hint=nearest(dataset, list(project.dictionary)),
        )
    source = end.source()
    try:
        with learnt():
            found = _only(source.datasets([table] if table else None), end, table)
            fields = _fields(found, _sample(source, found))
    finally:
        source.close()
    short = {short: long for long, short in project.naming.abbreviations.items()}
    matches = {match.source: match for match in suggest(fields, _standards(entry), short)}
    lines = tuple(_line(one, matches.get(one.name), entry, dataset) for one in fields)
    sheet = MappingSheet(lines, _options(end), {})
    write_sheet(sheet, out, language)
    return {
        "file": str(out),
        "mapping": [
            {"source": m.source, "standard": m.standard, "confidence": m.confidence, "reason": m.reason}
            for m in matches.values()
        ],
        "unmapped": [line.source for line in lines if not line.standard],
        "missing": [name for name in entry.fields if name not in {m.standard for m in matches.values()}],
    }


def applied(sheet: Path) -> dict[str, Any]:
    """The steps that a mapping sheet stands for, as they would stand in a pipeline, and its settings of the source."""
    read = read_sheet(sheet)
    return {"steps": read.steps(), "options": dict(read.options)}


def _only(found: list[Dataset], end: End, table: str) -> Dataset:
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFoundError(
            f"{end.name} has no dataset {table!r}" if table else f"{end.name} has no dataset", path=end.name
        )
    names = [dataset.name for dataset in found]
    raise InvalidPlanError(
        f"{end.name} has {len(found)} datasets", path="--table", hint=f"name one with --table: {', '.join(names[:20])}"
    )


def _sample(source: Any, dataset: Dataset) -> pa.RecordBatch | None:
    """The first rows, if there are any."""
    for split in source.splits(dataset, 1):
        for batch in source.read(Read(dataset, split, batch_rows=_SAMPLE, limit=_SAMPLE)):
            if batch.rows.num_rows:
                return batch.rows.slice(0, _SAMPLE)  # type: ignore[no-any-return]  # the source is any connector's
    return None


def _fields(dataset: Dataset, rows: pa.RecordBatch | None) -> list[Source]:
    found = []
    for column in dataset.schema:
        told = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
        values = None
        if rows is not None:
            try:
                values = as_text(rows.column(column.name))
            except SchemaError:
                values = None  # a type without a text form says nothing about its pattern
        found.append(Source(column.name, told.get(Meta.TITLE, ""), told.get(Meta.UNIT, ""), column.type, values))
    return found


def _standards(entry: DatasetEntry) -> list[Standard]:
    return [
        Standard(
            name,
            tuple(text for text in (*field.title.values(), field.description) if text),
            field.type or "",
            field.unit or "",
            field.pattern or "",
            tuple(str(value) for value in field.enum or ()),
        )
        for name, field in entry.fields.items()
    ]


def _line(source: Source, match: Match | None, entry: DatasetEntry, dataset: str) -> Line:
    if match is None:
        return Line(source.name, about=source.title, unit_from=source.unit)
    field = entry.fields[match.standard]
    converted = match.unit and field.unit and match.unit != field.unit
    return Line(
        source.name,
        match.standard,
        about=source.title,
        title=field.title.get("zh") or field.title.get("en") or "",
        unit_from=match.unit if converted else "",
        unit_to=field.unit or "" if converted else "",
        rule=_rule(field),
        codes=f"{dataset}.{match.standard}" if field.codes else "",
        owner=field.owner or entry.owner or "",
        confidence=f"{match.confidence} ({match.reason})",
    )


def _rule(field: FieldEntry) -> str:
    """The field's rules as a mapping sheet writes them; those that hold a separator stay in the dictionary only."""
    values: dict[str, Any] = {"type": field.type, "min": field.min, "max": field.max, "pattern": field.pattern}
    if field.enum:
        values["enum"] = "|".join(map(str, field.enum))
    flags = [name for name in ("required", "unique") if getattr(field, name)]
    parts = [f"{name}={value}" for name, value in values.items() if value is not None]
    return "; ".join([*flags, *(part for part in parts if not set(part) & set(";；\n"))])


def _options(end: End) -> Mapping[str, str]:
    """The choices about the file's content that were made for this reading."""
    if end.connector.name != "file":
        return {}
    chosen = end.settings.model_dump(mode="json", exclude_unset=True)
    return {name: _plain(chosen[name]) for name in _KEPT if chosen.get(name) not in (None, "", [], {})}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return "|".join(value)
    if isinstance(value, str | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    import json

    return json.dumps(value, ensure_ascii=False)
