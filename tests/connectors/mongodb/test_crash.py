"""A process killed at any crash point loses nothing and repeats nothing."""

from __future__ import annotations

import signal

import pytest

from tongqu.connectors.mongodb.settings import from_url
from tongqu.connectors.mongodb.source import MongodbSource
from tongqu.core.data import WriteMode
from tongqu.testing.crashing import crash, run
from tongqu.testing.pour import table

pytestmark = pytest.mark.crash
POINTS = ["mid_write:2", "in_commit:3", "in_finish", "after_swap"]


@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE])
@pytest.mark.parametrize(
    ("point", "transactions"),
    [*((point, "auto") for point in POINTS), ("mid_write:2", "never"), ("in_commit", "never")],
)
def test_a_killed_run_is_completed_by_the_next(
    mongodb_url: str, mode: WriteMode, point: str, transactions: str
) -> None:
    url = f"{mongodb_url}&transactions={transactions}"
    died = crash(url, mode, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    counts = run(url, mode)
    source = MongodbSource(from_url(url))
    rows = [(row["id"], row["v"]) for row in table(source, "t").to_pylist()]
    source.close()
    last = "2-5" if mode is WriteMode.UPSERT else "1-5"
    assert sorted(rows) == [
        (1, "0-1"), (2, "0-2"), (3, "0-3"), (4, "1-4"), (5, last), (6, "1-6"), (7, "2-7"), (8, "2-8"),
    ]  # fmt: skip
    if transactions == "auto":
        assert (counts.inserted, counts.updated + counts.merged) == (8, int(mode is WriteMode.UPSERT))
    assert (counts.read, counts.quarantined) == (8 + int(mode is WriteMode.UPSERT), 0)
