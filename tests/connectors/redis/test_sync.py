"""`tongqu sync` from and to Redis streams: killed anywhere, nothing is lost or doubled."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import duckdb
import pytest
from tests.connectors.redis.conftest import Streams

from tongqu.testing.command_line import Done, tongqu

COUNT = 300


def _sync(folder: Path, source: str, target: str, *more: str, **environ: str) -> Done:
    return tongqu(folder, "sync", "${env:S}", "${env:D}", "--json", *more, S=source, D=target, **environ)


@pytest.mark.crash
@pytest.mark.parametrize("point", ["in_commit:1", "after_commit:1"])
def test_a_stream_is_followed_into_a_table_exactly_once(streams: Streams, tmp_path: Path, point: str) -> None:
    streams.put("orders", *[json.dumps({"id": n}).encode() for n in range(COUNT)])
    follow = ("--mode", "stream", "--write", "append", "--until-caught-up", "--table", "orders")
    killed = _sync(tmp_path, streams.url, "duckdb:t.duckdb", *follow, TONGQU_CRASH_AT=point)
    assert killed.code == -signal.SIGKILL, killed.err
    streams.put("orders", json.dumps({"id": COUNT}).encode())
    done = _sync(tmp_path, streams.url, "duckdb:t.duckdb", *follow)
    assert done.code == 0, done.err
    with duckdb.connect(str(tmp_path / "t.duckdb"), read_only=True) as connection:
        found = connection.execute("select count(*), count(distinct id), max(id) from orders").fetchone()
    assert found == (COUNT + 1, COUNT + 1, COUNT)


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_call:1", "in_commit:1"])
def test_rows_are_entries_exactly_once(streams: Streams, tmp_path: Path, point: str) -> None:
    (tmp_path / "orders.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(COUNT)))
    killed = _sync(tmp_path, "file:orders.csv", streams.url, "--write", "append", TONGQU_CRASH_AT=point)
    assert killed.code == -signal.SIGKILL, killed.err
    done = _sync(tmp_path, "file:orders.csv", streams.url, "--write", "append")
    assert done.code == 0, done.err
    assert [json.loads(one[b"value"])["id"] for one in streams.held("orders")] == list(range(COUNT))
