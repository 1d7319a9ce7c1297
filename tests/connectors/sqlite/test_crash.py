"""A process killed at any crash point loses nothing and repeats nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tongqu.connectors.sqlite import connector
from tongqu.connectors.sqlite.settings import from_url
from tongqu.core.data import WriteMode
from tongqu.testing.crashing import crash, run
from tongqu.testing.pour import table

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("point", ["mid_write:2", "in_commit", "in_commit:3", "in_finish", "after_swap"])
def test_a_killed_run_is_completed_by_the_next(tmp_path: Path, mode: WriteMode, point: str) -> None:
    url = f"sqlite:{tmp_path}/target.db"
    died = crash(url, mode, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    counts = run(url, mode)
    assert connector.source is not None
    source = connector.source(from_url(url))
    rows = table(source, "t").to_pylist()
    source.close()
    current = [(row["id"], row["v"]) for row in rows if row.get("_current", True)]
    last = "2-5" if mode in (WriteMode.UPSERT, WriteMode.HISTORY) else "1-5"
    expected = [(1, "0-1"), (2, "0-2"), (3, "0-3"), (4, "1-4"), (5, last), (6, "1-6"), (7, "2-7"), (8, "2-8")]
    assert sorted(current) == expected
    repeated = counts.updated + counts.merged
    assert counts.inserted == 8
    assert repeated == (1 if mode in (WriteMode.UPSERT, WriteMode.HISTORY) else 0)
