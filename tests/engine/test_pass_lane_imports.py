"""A sync whose rows pass as bytes starts fast and stays small: it loads none of the columnar libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

HEAVY = ("pyarrow", "numpy", "duckdb", "sqlglot")
RUN = f"""
import sys
from tongqu.app.cli.main import main
try:
    main(sys.argv[1:])
finally:
    sys.stderr.write("loaded: " + ",".join(name for name in {HEAVY!r} if name in sys.modules))
"""


@pytest.mark.parametrize("target", ["copy", "new"])
def test_a_pass_lane_sync_loads_no_columnar_library(target: str, pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE part (id bigint PRIMARY KEY, name text, price numeric(12,2), doc jsonb)")
        connection.execute("CREATE TABLE copy (LIKE part INCLUDING ALL)")
        connection.execute("COMMENT ON COLUMN part.price IS '单价'")
        connection.execute("INSERT INTO part SELECT n, 'p' || n, n, '{}' FROM generate_series(1, 10) n")

    done = subprocess.run(
        [sys.executable, "-c", RUN, "sync", pg_url, pg_url, "--table", f"part={target}", "--json"],
        capture_output=True, text=True, check=False, env={"TONGQU_HOME": str(tmp_path)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lane"] == "pass"
    assert done.stderr.splitlines()[-1] == "loaded: "
