"""What is wrong in a transaction is told, and nothing of it stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tongqu.store.writing import writing


def test_a_full_disk_is_what_is_told() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.execute("CREATE TABLE t (x BLOB)")
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(sqlite3.OperationalError, match="disk is full"), writing(database):
            database.execute("INSERT INTO t VALUES (zeroblob(100000))")
        assert database.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert not database.in_transaction
