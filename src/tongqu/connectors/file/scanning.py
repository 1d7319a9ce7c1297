"""Parquet files as DuckDB reads them itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tongqu.connectors.file.layout import Layout
from tongqu.core.scan import Scan
from tongqu.kit.drivers import driver


def scannable(layout: Layout) -> bool:
    """Whether all parts are whole Parquet files with the dataset's columns and no others."""
    columns = tuple(layout.schema.names)
    return all(
        part.format == "parquet" and part.columns == columns and not (part.partitions or part.member)
        for part in layout.parts
    )


@contextmanager
def scanned(layout: Layout) -> Iterator[Scan]:
    """The files of a scannable layout."""
    connection = driver("duckdb", "duckdb").connect(config={"autoinstall_known_extensions": False})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        paths = ", ".join("'" + part.path.replace("'", "''") + "'" for part in layout.parts)
        yield Scan(connection, f"read_parquet([{paths}], hive_partitioning = false)")
    finally:
        connection.close()
