"""The seam for looking at a whole dataset: rows that DuckDB can read by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Scan:
    """What stands after FROM, in a DuckDB connection whose time zone is UTC and in which temporary tables may be made.

    `sampled` tells that these are not all rows; `unreadable` is how many could not be read.
    """

    connection: DuckDBPyConnection
    relation: str
    sampled: bool = False
    unreadable: int = 0
