"""A DuckDB file of the engine's own, which holds rows of others: it reaches nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import BusyError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def private_database(
    path: Path, *, memory_mib: int, threads: int, busy: Callable[[str], str], hint: str
) -> DuckDBPyConnection:
    """The file, made where there is none: no files beside it, no extensions, no objects of Python, times in UTC, and
    none of it can be set otherwise. Raises BusyError while another process has it: `busy` makes its message
    of DuckDB's."""
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "threads": str(threads),
        "memory_limit": f"{memory_mib}MiB",
        "temp_directory": f"{path}.spill",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    try:
        made = duckdb.connect(str(path), config=config)
    except duckdb.IOException as error:
        raise BusyError(busy(str(error).splitlines()[0]), hint=hint) from None
    for statement in (
        "SET GLOBAL TimeZone = 'UTC'",
        "SET python_enable_replacements = false",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        made.execute(statement)
    return made
