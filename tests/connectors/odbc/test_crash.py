"""A process killed at any crash point loses nothing and repeats nothing, whether DDL ends transactions or not."""

from __future__ import annotations

import signal

import pytest

from tongqu.connectors.odbc import connector
from tongqu.connectors.odbc.settings import from_url
from tongqu.core.data import WriteMode
from tongqu.testing.crashing import crash, run
from tongqu.testing.pour import table

pytestmark = pytest.mark.crash

CASES = [
    *(("odbc_mysql_url", mode, point) for mode in WriteMode for point in ("mid_write:2", "after_swap")),
    ("odbc_pg_url", WriteMode.REPLACE, "in_finish"),
    ("odbc_pg_url", WriteMode.REPLACE, "after_swap"),
    ("odbc_pg_url", WriteMode.UPSERT, "in_commit"),
]


@pytest.mark.parametrize(("place", "mode", "point"), CASES)
def test_a_killed_run_is_completed_by_the_next(
    request: pytest.FixtureRequest, place: str, mode: WriteMode, point: str
) -> None:
    url = request.getfixturevalue(place)
    died = crash(url, mode, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    counts = run(url, mode)
    assert connector.source is not None
    source = connector.source(from_url(url))
    rows = table(source, "t").to_pylist()
    source.close()
    current = [(row["id"], row["v"]) for row in rows if row.get("_current", True)]
    merges = mode in (WriteMode.UPSERT, WriteMode.HISTORY)
    last = "2-5" if merges else "1-5"
    expected = [(1, "0-1"), (2, "0-2"), (3, "0-3"), (4, "1-4"), (5, last), (6, "1-6"), (7, "2-7"), (8, "2-8")]
    assert sorted(current) == expected
    assert (counts.inserted, counts.updated + counts.merged) == (8, int(merges))
