"""`tongqu sync --mode cdc` from MariaDB to PostgreSQL: a process that is killed loses nothing and repeats nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

Sql = Callable[..., list[tuple[Any, ...]]]


def _sync(source: str, target: str, home: Path, crash: str = "") -> subprocess.CompletedProcess[str]:
    values = os.environ | {"TONGQU_HOME": str(home), "SRC": source, "DST": target}
    values |= {"TONGQU_CRASH_AT": crash} if crash else {}
    command = [sys.executable, "-m", "tongqu", "sync", "${env:SRC}", "${env:DST}", "--mode", "cdc"]
    return subprocess.run(
        [*command, "--until-caught-up", "--json"], env=values, capture_output=True, text=True, timeout=300, check=False
    )


def _streams(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, int]]:
    assert done.returncode == 0, done.stdout + done.stderr
    names = ("read", "inserted", "updated", "deleted")
    return {own["name"]: {n: own[n] for n in names if own[n]} for own in json.loads(done.stdout)["streams"]}


def test_a_database_is_followed_through_kills_and_other_columns(
    sql: Sql, mysql_url: str, pg_url: str, tmp_path: Path
) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(20), d decimal(9,2))", "CREATE TABLE u (id int PRIMARY KEY)")
    sql("INSERT INTO t SELECT seq, CONCAT('v', seq), seq / 4 FROM seq_1_to_500", "INSERT INTO u VALUES (1)")
    assert _sync(mysql_url, pg_url, tmp_path, "before_commit").returncode == -signal.SIGKILL
    sql("UPDATE t SET v = 'changed' WHERE id <= 10", "DELETE FROM t WHERE id = 500")
    _streams(_sync(mysql_url, pg_url, tmp_path))
    _same(sql, pg_url, "id, v, d")
    sql("UPDATE t SET id = 1000 WHERE id = 1", "INSERT INTO t VALUES (501, '中', NULL)", "TRUNCATE u",
        "INSERT INTO u VALUES (7)")  # fmt: skip
    assert _sync(mysql_url, pg_url, tmp_path, "after_commit").returncode == -signal.SIGKILL
    _streams(_sync(mysql_url, pg_url, tmp_path))
    _same(sql, pg_url, "id, v, d")
    sql("ALTER TABLE t ADD COLUMN w bigint unsigned", "UPDATE t SET w = 18000000000000000000 WHERE id = 2")
    assert _streams(_sync(mysql_url, pg_url, tmp_path))["t"] == {"read": 1, "updated": 1}
    _same(sql, pg_url, "id, v, d, w")


def _same(sql: Sql, pg_url: str, columns: str) -> None:
    with psycopg.connect(pg_url) as target:
        assert target.execute(f"SELECT {columns} FROM t ORDER BY id").fetchall() == [
            *sql(f"SELECT {columns} FROM t ORDER BY id")
        ]
        assert target.execute("SELECT id FROM u ORDER BY id").fetchall() == [*sql("SELECT id FROM u ORDER BY id")]
