"""The example of a database by its ODBC driver runs as its page says."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import duckdb

from tongqu.testing.command_line import tongqu

EXAMPLE = Path(__file__).parents[3] / "examples" / "databases"


def test_the_example_runs_as_its_page_says(tmp_path: Path) -> None:
    folder = tmp_path / "legacy"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".tongqu"))
    legacy = folder / "legacy.db"
    with sqlite3.connect(legacy) as db:
        db.executescript((folder / "legacy.sql").read_text(encoding="utf-8"))
    db.close()
    first = tongqu(folder, "run", "inspections", "--json", LEGACY_DB=str(legacy))
    assert first.code == 3, first.err
    (stream,) = first.document["streams"]
    assert (stream["read"], stream["inserted"], stream["quarantined"]) == (4, 3, 1)
    (bad,) = tongqu(folder, "quarantine", "list", "--json", LEGACY_DB=str(legacy)).document["rows"]
    assert (bad["code"], bad["value"]) == ("check.pattern", "X3")
    again = tongqu(folder, "run", "inspections", "--json", LEGACY_DB=str(legacy))
    assert again.document["streams"][0]["inserted"] == 0, again.err
    with duckdb.connect(str(folder / "lake.duckdb"), read_only=True) as lake:
        assert lake.execute("select item, value::varchar from inspection order by id").fetchall() == [
            ("厚度", "1.205"), ("宽度", "30.100"), ("厚度", "1.198"),
        ]  # fmt: skip
