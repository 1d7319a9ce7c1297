"""Makes a new DuckDB file so that it is there whole or not at all, whatever happens to the machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tongqu.kit import lasting
from tongqu.kit.drivers import driver


def fresh_duckdb(path: Path) -> None:
    """Have a DuckDB file there, an empty one if there is none: DuckDB itself leaves a file that is none when power is
    lost while it makes it. Raises OSError, and duckdb.Error."""
    if path.exists():
        return
    with TemporaryDirectory(prefix="tongqu-duckdb-") as folder:
        made = Path(folder) / path.name
        driver("duckdb", "duckdb").connect(str(made)).close()
        lasting.put_first(path, made.read_bytes(), None)
