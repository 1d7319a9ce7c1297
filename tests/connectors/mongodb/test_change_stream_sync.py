"""`tongqu sync --mode cdc` from MongoDB: a process that is killed loses nothing and repeats nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytestmark = pytest.mark.crash


def _sync(source: str, target: Path, home: Path, crash: str = "") -> subprocess.CompletedProcess[str]:
    values = os.environ | {"TONGQU_HOME": str(home), "SRC": source, "DST": f"duckdb:///{target}"}
    values |= {"TONGQU_CRASH_AT": crash} if crash else {}
    command = [sys.executable, "-m", "tongqu", "sync", "${env:SRC}", "${env:DST}", "--mode", "cdc"]
    return subprocess.run(
        [*command, "--until-caught-up", "--json"], env=values, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_database_is_followed_through_kills(database: Any, mongodb_url: str, tmp_path: Path) -> None:
    target = tmp_path / "lake.duckdb"
    database.orders.insert_many([{"_id": n, "v": f"v{n}"} for n in range(200)])
    database.parts.insert_one({"_id": "bolt", "weight": 1.5})
    assert _sync(mongodb_url, target, tmp_path, "before_commit").returncode == -signal.SIGKILL
    database.orders.update_many({"_id": {"$lt": 10}}, {"$set": {"v": "changed"}})
    database.orders.delete_one({"_id": 199})
    assert _sync(mongodb_url, target, tmp_path).returncode == 0
    _same(database, target)
    database.orders.insert_one({"_id": 500, "v": "中"})
    database.orders.delete_one({"_id": 0})
    database.parts.replace_one({"_id": "bolt"}, {"_id": "bolt", "weight": None})
    assert _sync(mongodb_url, target, tmp_path, "after_commit").returncode == -signal.SIGKILL
    done = _sync(mongodb_url, target, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    _same(database, target)
    database.orders.insert_one({"_id": 501, "v": "last"})
    streams = {one["name"]: one for one in json.loads(_sync(mongodb_url, target, tmp_path).stdout)["streams"]}
    assert (streams["orders"]["read"], streams["orders"]["inserted"], streams["parts"]["read"]) == (1, 1, 0)


def _same(database: Any, target: Path) -> None:
    with duckdb.connect(str(target)) as lake:
        for name, column in (("orders", "v"), ("parts", "weight")):
            expected = [(one["_id"], one[column]) for one in database[name].find().sort("_id")]
            assert lake.sql(f'SELECT _id, "{column}" FROM "{name}" ORDER BY _id').fetchall() == expected
