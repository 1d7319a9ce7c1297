"""A DuckDB file of the engine's own, which holds rows of others: it reaches nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import BusyError, CheckpointError
from tongqu.kit import lasting
from tongqu.kit.fresh_duckdb import fresh_duckdb

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def private_database(
    path: Path, *, memory_mib: int, threads: int, busy: Callable[[str], str], hint: str
) -> DuckDBPyConnection:
    """The file, made where there is none: no files beside it, no extensions, no objects of Python, times in UTC, and
    none of it can be set otherwise. Raises BusyError while another process has it (`busy` makes its message of
    DuckDB's), CheckpointError if it is damaged."""
    import duckdb

    lasting.make_folder(path.parent)
    config: dict[str, Any] = {
        "threads": str(threads),
        "memory_limit": f"{memory_mib}MiB",
        "temp_directory": f"{path}.spill",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    try:
        fresh_duckdb(path)
        made = duckdb.connect(str(path), config=config)
    except duckdb.ConnectionException:
        raise
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        if "lock" in said:
            raise BusyError(busy(said), hint=hint) from None
        raise CheckpointError(
            f"{path} is damaged: {said}", hint=f"remove {path}, then run the same command with --restart"
        ) from None
    for statement in (
        "SET GLOBAL TimeZone = 'UTC'",
        "SET python_enable_replacements = false",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        made.execute(statement)
    return made


def commit(database: DuckDBPyConnection, path: Path) -> None:
    """Commit so that it survives a loss of power: DuckDB syncs the log of a file, but not the log's name."""
    database.commit()
    lasting.sync(path.parent)
