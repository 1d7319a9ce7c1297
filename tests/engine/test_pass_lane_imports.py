"""A command whose rows pass as bytes starts fast and stays small: it loads none of the libraries it has no use for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

HEAVY = ("pyarrow", "numpy", "duckdb", "sqlglot")
OTHER_FORMATS = (
    "duckdb", "sqlglot", "asyncpg", "openpyxl", "python_calamine", "defusedxml", "xml.etree.ElementTree",
    "pyarrow.parquet", "pyarrow.dataset", "pyarrow.fs", "pyarrow.json", "pyarrow.feather",
    "tongqu.connectors.file.documents", "tongqu.connectors.file.sink", "tongqu.kit.formats.fixed_width",
    "tongqu.kit.formats.json_documents", "tongqu.kit.formats.jsonl", "tongqu.kit.formats.output",
    "tongqu.kit.formats.sheet_table", "tongqu.kit.formats.workbook", "tongqu.kit.formats.xml_records",
    "tongqu.connectors.postgres.source", "tongqu.connectors.postgres.encode", "tongqu.engine.chain",
)  # fmt: skip
RUN = """
import sys
from tongqu.app.cli.main import main
try:
    main(sys.argv[2:])
finally:
    sys.stderr.write("loaded: " + ",".join(name for name in sys.argv[1].split(",") if name in sys.modules))
"""


def _told(unwanted: tuple[str, ...], home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which says at its end what of `unwanted` it has loaded."""
    return subprocess.run(
        [sys.executable, "-c", RUN, ",".join(unwanted), *arguments, "--json"],
        capture_output=True, text=True, check=False, env={"TONGQU_HOME": str(home)},
    )  # fmt: skip


@pytest.mark.parametrize("target", ["copy", "new"])
def test_a_pass_lane_sync_loads_no_columnar_library(target: str, pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE part (id bigint PRIMARY KEY, name text, price numeric(12,2), doc jsonb)")
        connection.execute("CREATE TABLE copy (LIKE part INCLUDING ALL)")
        connection.execute("COMMENT ON COLUMN part.price IS '单价'")
        connection.execute("INSERT INTO part SELECT n, 'p' || n, n, '{}' FROM generate_series(1, 10) n")

    done = _told(HEAVY, tmp_path, "sync", pg_url, pg_url, "--table", f"part={target}")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lane"] == "pass"
    assert done.stderr.splitlines()[-1] == "loaded: "


def test_a_csv_that_passes_loads_nothing_of_other_formats(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE part (id bigint PRIMARY KEY, name text, price numeric(12,2), made date)")
    file = tmp_path / "part.csv"
    file.write_text("id,name,price,made\n" + "".join(f"{n},p{n},{n}.50,2026-01-31\n" for n in range(10)))

    done = _told(OTHER_FORMATS, tmp_path / "home", "sync", f"file:{file}", pg_url)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lane"] == "pass"
    assert done.stderr.splitlines()[-1] == "loaded: "


def test_a_pipeline_without_steps_loads_no_columnar_library(pg_url: str, tmp_path: Path) -> None:
    """Nor what other sections of a project are described by."""
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE part (id bigint PRIMARY KEY, name text)")
        connection.execute("INSERT INTO part SELECT n, 'p' || n FROM generate_series(1, 10) n")
    (tmp_path / "tongqu.yaml").write_text(
        "project: plant\n"
        f"connections: {{erp: {{type: postgres, url: '{pg_url}'}}}}\n"
        "pipelines:\n"
        "  parts: {source: {connection: erp, dataset: part}, sink: {connection: erp, dataset: copy, write: upsert}}\n"
    )

    unwanted = (*HEAVY, "tongqu.engine.graph", "tongqu.engine.chain", "tongqu.gateway.audit.settings")
    done = _told(unwanted, tmp_path / "home", "run", "parts", "--project", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lane"] == "pass"
    assert done.stderr.splitlines()[-1] == "loaded: "
