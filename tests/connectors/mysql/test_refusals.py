"""What MariaDB cannot hold is said in words or set aside as a row, never met by accident."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tongqu.testing.command_line import make, tongqu


def test_a_time_finer_than_microseconds_is_one_quarantined_row(mysql_url: str, tmp_path: Path) -> None:
    at = pa.array([1_000, 1_001], pa.timestamp("ns"))
    pq.write_table(pa.table({"id": [1, 2], "at": at}), tmp_path / "t.parquet")
    done = tongqu(tmp_path, "sync", "file:t.parquet", mysql_url, "--json")
    assert done.code == 3, done.out
    [stream] = done.document["streams"]
    assert (stream["read"], stream["written"], stream["quarantined"]) == (2, 1, 1)
    [row] = tongqu(tmp_path, "quarantine", "list", mysql_url, "--json").document["rows"]
    assert (row["field"], "1970-01-01 00:00:00.000001001" in row["message"]) == ("at", True)


def test_names_that_cannot_be_and_databases_that_are_not(mysql_url: str, tmp_path: Path) -> None:
    make(tmp_path / "a.db", '"t😀"', "id INTEGER PRIMARY KEY", [(1,)])
    make(tmp_path / "a.db", '"nowhere.t"', "id INTEGER PRIMARY KEY", [(1,)])
    done = tongqu(tmp_path, "sync", "sqlite:a.db", mysql_url, "--json")
    said = {problem["code"]: problem for problem in done.document["problems"]}
    assert "no name can have" in said["data.schema"]["message"]
    assert "a schema is a database here" in said["connector.not_found"]["hint"]
