"""Files of the home that were torn or have flipped bits cost no row and begin nothing anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tongqu.testing.command_line import inside, make, query

COLUMNS = "id INTEGER PRIMARY KEY, v TEXT NOT NULL, ver INTEGER NOT NULL"
SYNC = ("sync", "sqlite:source.db", "sqlite:sink.db", "--mode", "incremental", "--cursor", "ver", "--write", "append",
        "--json")  # fmt: skip


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(16, len(data), 97):
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [torn, flipped, gone])
def test_the_next_run_goes_on_where_the_last_one_ended(damage: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "source.db", "parts", COLUMNS, [(i, f"v{i}", i) for i in range(1, 101)])
    assert inside(tmp_path, *SYNC).document["streams"][0]["inserted"] == 100
    files = [path for path in (tmp_path / "home").iterdir() if path.suffix == ".db"]
    assert files
    for path in [*files, *(tmp_path / "home").glob("*.db-*")]:
        (damage if path in files else gone)(path)
    make(tmp_path / "source.db", "later", COLUMNS, [(i, f"v{i}", i) for i in range(1, 6)])
    query_all = "SELECT count(*), count(DISTINCT id) FROM parts"
    again = inside(tmp_path, *SYNC)
    assert again.code == 0, again
    assert query(tmp_path / "sink.db", query_all) == [(100, 100)]
    assert query(tmp_path / "sink.db", "SELECT count(*) FROM later") == [(5,)]
    assert "Traceback" not in again.err
