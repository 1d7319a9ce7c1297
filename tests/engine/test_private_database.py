"""The engine's own DuckDB file: made whole, and told when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.core.errors import CheckpointError
from tongqu.engine.private_database import commit, private_database


def test_what_is_committed_is_there_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state" / "one.duckdb"

    def opened() -> list[tuple[int]]:
        with private_database(path, memory_mib=64, threads=1, busy=str, hint="") as database:
            database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
            database.begin()
            database.execute("INSERT INTO t VALUES (1)")
            commit(database, path)
            return database.execute("SELECT * FROM t").fetchall()

    assert [len(opened()), len(opened())] == [1, 2]
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CheckpointError, match="damaged") as told:
        opened()
    assert str(path) in told.value.hint
