"""How a DuckDB file counts, sums and lists the rows of a table that is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tongqu.connectors.duckdb import catalog
from tongqu.connectors.duckdb.db import open_source, place
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.connectors.duckdb.types import selected
from tongqu.core.compare import Comparison
from tongqu.core.data import Dataset
from tongqu.kit.comparing.duck import DuckComparable


def comparable(settings: DuckdbSettings, dataset: Dataset, comparison: Comparison, condition: str) -> DuckComparable:
    """The table as one side of a comparison; the file is open only while a statement runs, so that a repair can write
    it in between. Raises NotFoundError if it is not there."""

    def ask(sql: str, answer: Callable[[Any], Any]) -> Any:
        db = open_source(settings)
        try:
            with db.translated():
                return answer(db.sql(sql))
        finally:
            db.close()

    db = open_source(settings)
    try:
        table = catalog.need(db, dataset.name)
    finally:
        db.close()
    return DuckComparable(
        comparison,
        place(table.name),
        ask=ask,
        types={column.name: column.type for column in table.columns},
        selected={c.name: (selected(c.name, c.kind), dataset.schema.field(c.name)) for c in table.columns},
        condition=condition,
        required=frozenset(column.name for column in table.columns if column.required),
    )
