"""Columns that say something about all rows (a median, the last good value), put beside the rows they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tongqu.core.arrow import pa
from tongqu.core.data import Dataset
from tongqu.meaning.expressions import relation_types
from tongqu.meaning.sandbox import ROW_COLUMN, quoted, relation_names

Levels = Sequence[Mapping[str, str]]
"""See Operator.surveys."""

PREFIX = "_tongqu_survey_"
"""How names of survey columns begin."""

_INPUT = "input"


def own_columns(dataset: Dataset) -> list[str]:
    """The columns of a dataset that are not survey columns."""
    return [name for name in dataset.columns if not name.startswith(PREFIX)]


def survey_query(dataset: Dataset, levels: Levels, relation: str) -> str:
    """The rows of the relation in their order: the dataset's columns, then those of the levels. Windows may order by
    `_tongqu_row`, each row's place."""
    sql = f"SELECT *, row_number() OVER () AS {quoted(ROW_COLUMN)} FROM {relation}"
    found: list[str] = []
    for level in levels:
        items = ", ".join(f"{text} AS {quoted(name)}" for name, text in level.items())
        sql = f"SELECT *, {items} FROM ({sql})"
        found += level
    columns = ", ".join(quoted(name) for name in (*relation_names(dataset.columns).values(), *found))
    return f"SELECT {columns} FROM ({sql}) ORDER BY {quoted(ROW_COLUMN)}"


def surveyed(dataset: Dataset, levels: Levels) -> Dataset:
    """The dataset with the columns of the levels; itself if there are none. Raises ExpressionError for what does not
    fit the columns' types."""
    if not levels:
        return dataset
    found = relation_types(survey_query(dataset, levels, _INPUT), {_INPUT: dataset.schema})
    made = [pa.field(name, kind) for name, _, kind in found[len(dataset.columns) :]]
    return replace(dataset, schema=pa.schema([*dataset.schema, *made]))
